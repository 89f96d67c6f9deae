"""Any bytes of a ZIP of a series changed: the same slices, or refused in one line; nothing else."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from components.cohort.images import read_image
from components.core.errors import BadInput
from components.release.settings import RequestLimits
from serving.images.unpack import unpack
from tests.cohort.dicom_writer import T2, phantom, write_series

LIMITS = RequestLimits(unpacked_mb=1, zip_files=40, voxels=100_000)
IMAGE = phantom(shape=(4, 8, 6))
SHARE = st.floats(0.0, 1.0, exclude_max=True)
CHANGES = st.lists(st.tuples(SHARE, st.binary(max_size=8), st.integers(0, 8)), max_size=4)


class Archive:
    """A ZIP's bytes and what its entries hold; told in few words where a test fails."""

    def __init__(self, folder: Path, method: int) -> None:
        series = write_series(folder / "s", IMAGE, T2)
        files = {file.name: file.read_bytes() for file in sorted(series.iterdir())}
        self.held = set(files.values())
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            for name, content in files.items():
                archive.writestr(f"DICOM/{name}", content)
        self.content = stream.getvalue()

    def __repr__(self) -> str:
        return f"a ZIP of {len(self.held)} files"


@pytest.fixture(scope="module", params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive(tmp_path_factory.mktemp("whole"), request.param)


def _changed(content: bytes, changes: list[tuple[float, bytes, int]], cut: float) -> bytes:
    made = bytearray(content)
    for place, new, lost in changes:
        at = int(place * len(made))
        made[at : at + lost] = new
    return bytes(made[: len(made) if cut > 0.1 else int(10 * cut * len(made))])


def _check(folder: Path, archive: Archive, content: bytes) -> None:
    try:
        found = unpack(content, "t1c", folder, LIMITS)
    except BadInput as error:
        assert "\n" not in str(error)
        return
    assert found == folder / "t1c"
    assert {file.read_bytes() for file in found.iterdir()} == archive.held
    assert sorted(path.name for path in folder.iterdir()) == ["t1c"]


@given(changes=CHANGES, cut=SHARE)
@settings(max_examples=300)
def test_a_damaged_zip(
    archive: Archive,
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[float, bytes, int]],
    cut: float,
) -> None:
    _check(tmp_path_factory.mktemp("f"), archive, _changed(archive.content, changes, cut))


@pytest.mark.slow
@given(changes=CHANGES, cut=SHARE)
@settings(max_examples=20_000)
def test_any_damaged_zip(
    archive: Archive,
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[float, bytes, int]],
    cut: float,
) -> None:
    _check(tmp_path_factory.mktemp("f"), archive, _changed(archive.content, changes, cut))


def test_a_directory_that_hides_files_is_refused(archive: Archive, tmp_path: Path) -> None:
    """The length of the first entry's comment takes in the entries behind it."""
    made = bytearray(archive.content)
    first, end = made.index(b"PK\x01\x02"), made.index(b"PK\x05\x06")
    second = made.index(b"PK\x01\x02", first + 1)
    made[first + 32 : first + 34] = (end - second).to_bytes(2, "little")
    with zipfile.ZipFile(io.BytesIO(made)) as told:
        assert len(told.infolist()) == 1
    with pytest.raises(BadInput):
        unpack(bytes(made), "t1c", tmp_path, LIMITS)


def test_the_whole_zip_is_the_series(archive: Archive, tmp_path: Path) -> None:
    found = read_image(unpack(archive.content, "t1c", tmp_path, LIMITS))
    oriented = [sitk.GetArrayFromImage(sitk.DICOMOrient(i, "LPS")) for i in (found, IMAGE)]
    assert np.array_equal(*oriented)
