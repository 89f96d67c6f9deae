"""What a file may claim and cost before it is refused, and what is read as ever."""

from __future__ import annotations

import gzip
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from components.core.errors import BadInput
from components.core.imaging.nifti import MAX_AXIS, MAX_VALUE, MAX_VOXELS
from components.core.imaging.nifti_stream import MAX_MEMBERS
from tests.core.test_nifti import nifti, read, right, voxels

GIGABYTE = 1_000_000_000
EMPTY = gzip.compress(b"")


def claim(*shape: int) -> bytes:
    """The header of a float64 file of so many voxels."""
    content = bytearray(nifti(voxels("f8"))[:352])
    struct.pack_into("<4h", content, 40, 3, *shape)
    return bytes(content)


@pytest.mark.parametrize("shape", [(1024, 1024, 177), (2000, 2000, 256), (MAX_AXIS + 1, 4, 4)])
def test_a_claim_is_judged_before_any_voxel_is_read(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    for content in (claim(*shape), gzip.compress(claim(*shape))):
        with pytest.raises(BadInput) as refused:
            read(tmp_path, content)
        assert str(MAX_VOXELS) in refused.value.problem


@pytest.mark.slow
def test_the_largest_volume_takes_less_than_a_gigabyte(tmp_path: Path) -> None:
    shape = (1024, 1024, MAX_VOXELS >> 20)
    header = bytearray(claim(*shape))
    struct.pack_into("<4f", header, 76, 1.0, 0.9, 0.9, 5.0)
    path, packer = tmp_path / "a.nii.gz", zlib.compressobj(1, zlib.DEFLATED, 31)
    with path.open("wb") as stream:
        stream.write(packer.compress(bytes(header)))
        for _ in range(shape[2]):
            stream.write(packer.compress(bytes(8 << 20)))
        stream.write(packer.flush())
    code = (
        "import sys; from pathlib import Path;"
        "from components.core.imaging.nifti import read_nifti;"
        "assert read_nifti(Path(sys.argv[1])).image.GetSize() == (1024, 1024, 176)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < GIGABYTE


def test_an_ordinary_large_matrix_is_read(tmp_path: Path) -> None:
    content = claim(1024, 1024, 12) + bytes(8 * 1024 * 1024 * 12)
    assert read(tmp_path, gzip.compress(content, 1)).image.GetSize() == (1024, 1024, 12)


def test_members_are_counted(tmp_path: Path) -> None:
    whole = gzip.compress(nifti())
    assert right(read(tmp_path, EMPTY * 1000 + whole + EMPTY))
    for content in (EMPTY * (MAX_MEMBERS + 1), whole + EMPTY * (MAX_MEMBERS + 1)):
        with pytest.raises(BadInput) as refused:
            read(tmp_path, content)
        assert "gzip members" in refused.value.problem


def test_blocks_of_bgzip_are_read(tmp_path: Path) -> None:
    content = nifti()
    blocks = [gzip.compress(content[at : at + 64]) for at in range(0, len(content), 64)]
    assert right(read(tmp_path, b"".join(blocks) + EMPTY))


def test_gzip_in_gzip_is_called_that(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        read(tmp_path, gzip.compress(gzip.compress(nifti())))
    assert "gzip twice" in refused.value.problem


@pytest.mark.parametrize("value", [1e38, -1e38, 3e9])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_an_absurd_voxel_is_refused(tmp_path: Path, value: float, kind: str) -> None:
    array = voxels(kind)
    array[3, 4, 5] = value
    with pytest.raises(BadInput) as refused:
        read(tmp_path, nifti(array))
    assert f"{MAX_VALUE:g}" in refused.value.problem


@pytest.mark.parametrize("factor", [1e3, -1e3, 1e6])
def test_large_true_values_are_read(tmp_path: Path, factor: float) -> None:
    array = (voxels("f8") * factor).astype("f4")
    assert right(read(tmp_path, nifti(array)), array)


@pytest.mark.parametrize("behind", [b"\x01", bytes(8), bytes(5000)])
def test_what_stands_behind_a_tiny_volume_is_seen(tmp_path: Path, behind: bytes) -> None:
    import nibabel

    image = nibabel.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4))
    image.set_qform(np.eye(4), 1)
    assert read(tmp_path, image.to_bytes()).image.GetSize() == (3, 3, 3)
    if len(behind) == 8:
        assert read(tmp_path, image.to_bytes() + behind).image.GetSize() == (3, 3, 3)
    else:
        with pytest.raises(BadInput):
            read(tmp_path, image.to_bytes() + behind)
