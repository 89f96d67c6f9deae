"""What a client sent becomes image files, or one line that says what to mend; nothing else."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import struct
import zipfile
from pathlib import Path

import pytest

from components.core.errors import BadInput
from components.release.settings import RequestLimits
from serving.images.unpack import decoded, unpack
from tests.serving.archives import ARCHIVES, HARMLESS, overlapping
from tests.serving.images import zip_of

LIMITS = RequestLimits(unpacked_mb=64, voxels=10_000_000)
FUZZED = 1500


def _volume() -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 10, 10, 10, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, *[1.0] * 4, *[0.0] * 4)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\x00"
    return bytes(header) + bytes(range(250)) * 8


VOLUME = gzip.compress(_volume())


@pytest.mark.parametrize("name", HARMLESS)
def test_odd_files_are_read(name: str, tmp_path: Path) -> None:
    found = unpack(HARMLESS[name](VOLUME), "t1c", tmp_path, LIMITS).read_bytes()
    assert found[-2000:] == _volume()[-2000:]


@pytest.mark.parametrize("name", ARCHIVES)
def test_nothing_leaves_its_folder(name: str, tmp_path: Path) -> None:
    """What is not refused here is refused as no DICOM series (test_hostile)."""
    folder = tmp_path / "inside"
    folder.mkdir()
    try:
        unpack(ARCHIVES[name](VOLUME), "t1c", folder, LIMITS)
    except BadInput as error:
        assert error.subject == "t1c"
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    found = list(folder.rglob("*"))
    assert not any(path.is_symlink() for path in found)
    assert sum(path.stat().st_size for path in found) <= LIMITS.unpacked_mb << 20


class _Pipe(io.RawIOBase):
    """Takes what is written to it, and cannot go back: a ZIP then holds sizes behind contents."""

    def __init__(self) -> None:
        self.taken = b""

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        self.taken += bytes(content)  # type: ignore[call-overload]
        return len(content)  # type: ignore[arg-type]


def test_a_streamed_zip_is_read(tmp_path: Path) -> None:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        archive.writestr("IM0", b"one" * 999)
    folder = unpack(pipe.taken, "t1c", tmp_path, LIMITS)
    assert [path.read_bytes() for path in folder.iterdir()] == [b"one" * 999]


def test_overlapping_files_count_as_often_as_they_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        unpack(overlapping(1 << 20, 65), "t1c", tmp_path, LIMITS)
    assert error.value.problem == "more than 64 MiB uncompressed"


def test_whatever_is_damaged_is_bad_input(tmp_path: Path) -> None:
    chance = random.Random(7)
    whole = [zip_of({f"IM{i}": bytes(90) for i in range(3)}), VOLUME, _volume()]
    whole.append(ARCHIVES["eight exabytes by 64 bits"](VOLUME))
    refused = 0
    for number in range(FUZZED):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            unpack(decoded(_damaged(chance.choice(whole), chance)), "t1c", folder, LIMITS)
        except BadInput:
            refused += 1
        shutil.rmtree(folder)
    assert refused > FUZZED / 2


def _damaged(content: bytes, chance: random.Random) -> bytes:
    made = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        place, width = chance.randrange(len(made)), chance.choice((1, 2, 4, 8))
        made[place : place + width] = chance.choice(
            (b"\xff" * width, bytes(width), chance.randbytes(width), b"")
        )
    return bytes(made)
