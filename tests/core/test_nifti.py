"""One reading of a NIfTI file: right, or refused for what is wrong with it; never other voxels."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from components.core.errors import BadInput
from components.core.imaging.grid import Grid
from components.core.imaging.nifti import NiftiImage, read_nifti
from components.core.imaging.nifti_space import TOLERANCE_MM

SHAPE = (30, 28, 12)
"""Voxels along x, y, z."""

_TURN = nibabel.quaternions.quat2mat([0.98, 0.1, -0.12, 0.1])
AFFINE = np.eye(4)
AFFINE[:3, :3] = _TURN * [0.9, 0.9, 5.0]
AFFINE[:3, 3] = [-14.0, 20.0, 33.0]

Spoil = Callable[[bytearray], None]


def voxels(dtype: str = "<i2") -> np.ndarray:
    """Array (x, y, z)."""
    return np.random.default_rng(0).integers(1, 120, SHAPE).astype(dtype)


def nifti(
    array: np.ndarray | None = None, *, qform: int = 1, sform: int = 1, kind: type | None = None
) -> bytes:
    """An uncompressed NIfTI file, both forms alike."""
    values = voxels() if array is None else array
    image = (kind or nibabel.Nifti1Image)(values, AFFINE)
    image.set_qform(AFFINE, qform)
    image.set_sform(AFFINE, sform)
    image.header.set_xyzt_units("mm")
    return image.to_bytes()


def read(folder: Path, content: bytes, name: str = "t1c.nii") -> NiftiImage:
    (folder / name).write_bytes(content)
    return read_nifti(folder / name)


def right(found: NiftiImage, array: np.ndarray | None = None) -> bool:
    """Whether the voxels are the true ones, every corner near its true place."""
    expected = (voxels() if array is None else array).T.astype(np.float32)
    grid = Grid.of(found.image)
    true = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
    ends = np.array([[x, y, z, 1] for x in (0, 29) for y in (0, 27) for z in (0, 11)])
    apart = np.linalg.norm(ends @ (grid.affine - true)[:3].T, axis=1).max()
    return (
        np.array_equal(sitk.GetArrayFromImage(found.image), expected) and apart < 1.5 * TOLERANCE_MM
    )


def at(offset: int, form: str, *values: float) -> Spoil:
    """Overwrite bytes of a NIfTI-1 header."""
    return lambda content: struct.pack_into(f"<{form}", content, offset, *values)


def _both(*spoils: Spoil) -> Spoil:
    def spoil(content: bytearray) -> None:
        for each in spoils:
            each(content)

    return spoil


NO_QFORM = at(252, "h", 0)
NO_SFORM = at(254, "h", 0)
NAN, INF = float("nan"), float("inf")

HEADERS: dict[str, tuple[Spoil, str]] = {
    "size of the header": (at(0, "i", 349), "not NIfTI"),
    "no axes": (at(40, "h", 0), "0 axes"),
    "eight axes": (at(40, "h", 8), "8 axes"),
    "negative size": (at(42, "h", -30), "its size is"),
    "zero size": (at(44, "h", 0), "its size is"),
    "fewer slices than voxels": (at(46, "h", 11), "more voxels"),
    "more slices than voxels": (at(46, "h", 13), "ends early"),
    "ten billion voxels": (at(42, "hhh", 2160, 2160, 2160), "voxels"),
    "four-dimensional": (at(40, "hhhhh", 4, 30, 28, 6, 2), "4-D"),
    "vectors": (at(40, "hhhhhh", 5, 30, 28, 4, 1, 3), "colour"),
    "two-dimensional": (at(40, "hhhh", 2, 30, 336, 1), "2-D"),
    "complex": (at(70, "hh", 32, 64), "complex"),
    "complex of double precision": (at(70, "hh", 1792, 128), "complex"),
    "RGB": (at(70, "hh", 128, 24), "colour"),
    "RGBA": (at(70, "hh", 2304, 32), "colour"),
    "long double": (at(70, "hh", 1536, 128), "datatype 1536"),
    "bits": (at(70, "hh", 1, 1), "datatype 1"),
    "no datatype": (at(70, "h", 0), "datatype 0"),
    "datatype against bitpix": (at(72, "h", 8), "contradict"),
    "offset in the header": (at(108, "f", 0.0), "at byte 0"),
    "offset of NaN": (at(108, "f", NAN), "at byte nan"),
    "infinite offset": (at(108, "f", INF), "at byte inf"),
    "broken offset": (at(108, "f", 352.5), "at byte 352.5"),
    "offset beyond the voxels": (at(108, "f", 368.0), "ends early"),
    "slope 1, intercept NaN": (at(112, "ff", 1.0, NAN), "scaled by 1 and nan"),
    "infinite slope": (at(112, "ff", INF, 0.0), "scaled by inf"),
    "infinite intercept": (at(112, "ff", 1.0, -INF), "scaled by 1 and -inf"),
    "slope NaN, intercept 5": (at(112, "ff", NAN, 5.0), "scaled by nan"),
    "negative slope": (at(112, "ff", -1.0, 0.0), "scaled by -1"),
    "slope beyond float32": (at(112, "ff", 3e38, 0.0), "NaN or infinite"),
    "metres": (at(123, "b", 1), "metres"),
    "micrometres": (at(123, "b", 3), "micrometres"),
    "no such unit": (at(123, "b", 5), "unknown unit"),
    "no codes": (_both(NO_QFORM, NO_SFORM), "which way the patient lies"),
    "unknown qform code": (at(252, "h", 17), "qform_code is 17"),
    "negative sform code": (at(254, "h", -1), "sform_code is -1"),
    "infinite sform": (_both(NO_QFORM, at(280, "f", INF)), "not finite"),
    "sform of NaN": (_both(NO_QFORM, at(292, "f", NAN)), "not finite"),
    "flat sform": (_both(NO_QFORM, at(280, "12f", *[1, 2, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0])), "flat"),
    "zero sform": (_both(NO_QFORM, at(280, "12f", *[0] * 12)), "voxels of"),
    "sform of huge voxels": (
        _both(NO_QFORM, at(280, "12f", *[1e30, 0, 0, 0, 0, 1e30, 0, 0, 0, 0, 1e30, 0])), "voxels"),
    "sform far away": (_both(NO_QFORM, at(292, "f", 1e9)), "metres away"),
    "quaternion of NaN": (_both(NO_SFORM, at(256, "f", NAN)), "no rotation"),
    "quaternion too long": (_both(NO_SFORM, at(256, "3f", 0.9, 0.9, 0.9)), "no rotation"),
    "qfac of 3": (_both(NO_SFORM, at(76, "f", 3.0)), "no rotation"),
    "qform of no size": (_both(NO_SFORM, at(80, "f", 0.0)), "pixdim"),
    "qform of negative size": (_both(NO_SFORM, at(80, "f", -0.9)), "pixdim"),
    "qform of NaN": (_both(NO_SFORM, at(268, "f", NAN)), "not finite"),
    "forms 9 mm apart": (at(268, "f", -5.0), "qform and sform disagree by up to 9.0 mm"),
    "forms mirrored": (at(280, "f", -AFFINE[0, 0]), "qform and sform disagree"),
    "form turned by half": (at(256, "3f", 0.0, 0.0, 1.0), "qform and sform disagree"),
    "stale pixdim": (_both(NO_QFORM, at(80, "fff", 0.85, 0.85, 5.0)), "contradict its sform"),
    "pixdim of NaN": (_both(NO_QFORM, at(84, "f", NAN)), "contradict its sform"),
    "a pair": (at(344, "4s", b"ni1\0"), "another file"),  # type: ignore[arg-type]
    "Analyze": (at(344, "4s", bytes(4)), "left and right unknown"),  # type: ignore[arg-type]
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_cannot_be_is_refused(tmp_path: Path, case: str, packed: bool) -> None:
    spoil, said = HEADERS[case]
    content = bytearray(nifti())
    spoil(content)
    whole = gzip.compress(bytes(content)) if packed else bytes(content)
    with pytest.raises(BadInput) as refused:
        read(tmp_path, whole, "t1c.nii.gz" if packed else "t1c.nii")
    assert said in refused.value.problem
    assert refused.value.remedy
    assert "t1c" in refused.value.subject
    assert "\n" not in str(refused.value)


def test_only_the_file_named_is_read(tmp_path: Path) -> None:
    """A packed file beside another patient's unpacked one."""
    (tmp_path / "t1c.nii").write_bytes(nifti(voxels()[::-1].copy()))
    packed = gzip.compress(nifti())
    found = read(tmp_path, packed, "t1c.nii.gz")
    assert right(found)
    assert found.sha256 == hashlib.sha256(packed).hexdigest()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ", "a.Nii", "a.gz", "a.bin", "a"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_the_bytes_tell_the_format_whatever_the_name(
    tmp_path: Path, name: str, packed: bool
) -> None:
    content = gzip.compress(nifti()) if packed else nifti()
    assert right(read(tmp_path, content, name))
    with pytest.raises(BadInput, match="not a readable image"):
        read(tmp_path, content[: len(content) // 2], name)


@pytest.mark.parametrize("name", ["A.NII.GZ", "a.nii.gz", "a.nii"])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_voxel_that_is_no_number_is_refused(tmp_path: Path, name: str, bad: float) -> None:
    array = voxels("f4")
    array[3, 4, 5] = bad
    content = nifti(array)
    with pytest.raises(BadInput, match="NaN or infinite"):
        read(tmp_path, gzip.compress(content) if name.lower().endswith("gz") else content, name)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", ">i2", "u4", "i4", "f4", ">f4", "f8"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_every_real_type_is_read(tmp_path: Path, dtype: str, kind: type) -> None:
    array = voxels(dtype)
    image = kind(array, AFFINE)
    image.set_data_dtype(array.dtype)
    assert right(read(tmp_path, image.to_bytes()), array)
    swapped = kind(array, AFFINE, image.header.as_byteswapped(">"))
    assert right(read(tmp_path, swapped.to_bytes()), array)


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    content = bytearray(nifti())
    at(112, "ff", 2.0, -2000.0)(content)
    assert right(read(tmp_path, bytes(content)), voxels("f8") * 2 - 2000)
    for none in ((0.0, 5.0), (NAN, NAN), (NAN, 0.0)):
        at(112, "ff", *none)(content)
        assert right(read(tmp_path, bytes(content)))


SOUND: dict[str, Spoil] = {
    "sform alone": NO_QFORM,
    "qform alone": NO_SFORM,
    "units unknown": at(123, "b", 0),
    "units of time": at(123, "b", 2 + 8),
    "trailing axis": at(40, "hhhhh", 4, 30, 28, 12, 1),
    "trailing axes": at(40, "hhhhhhhh", 7, 30, 28, 12, 1, 1, 1, 1),
    "junk behind the axes": at(48, "hhhh", 17, 0, -3, 9),
    "no qfac": at(76, "f", 0.0),
    "negative pixdim beside an sform": _both(NO_QFORM, at(80, "f", -0.9)),
    "pixdim rounded": at(80, "fff", 0.901, 0.899, 5.01),
    "forms 0.2 mm apart": at(268, "f", -14.2),
    "intent and description": _both(at(68, "h", 1002), at(148, "8s", b"anything")),  # type: ignore[arg-type]
    "zeros behind the voxels": lambda content: content.extend(bytes(512)),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_is_sound_is_read(tmp_path: Path, case: str) -> None:
    content = bytearray(nifti())
    SOUND[case](content)
    assert right(read(tmp_path, bytes(content)))
    assert right(read(tmp_path, gzip.compress(bytes(content)), "t1c.nii.gz"))


@pytest.mark.parametrize(("degrees", "said"), [(0.02, True), (0.2, True), (0.0, False)])
def test_nearly_right_angles_are_made_right(tmp_path: Path, degrees: float, said: bool) -> None:
    skewed = AFFINE.copy()
    skewed[:3, 0] += np.tan(np.radians(degrees)) * AFFINE[:3, 1]
    image = nibabel.Nifti1Image(voxels(), skewed)
    found = read(tmp_path, image.to_bytes())
    assert right(found)
    assert bool(found.notes) is said
    direction = np.reshape(found.image.GetDirection(), (3, 3))
    assert np.allclose(direction.T @ direction, np.eye(3), atol=1e-6)


@pytest.mark.parametrize("degrees", [1.0, 10.0, 45.0])
def test_sheared_axes_are_refused(tmp_path: Path, degrees: float) -> None:
    skewed = AFFINE.copy()
    skewed[:3, 0] += np.tan(np.radians(degrees)) * AFFINE[:3, 1]
    content = bytearray(nibabel.Nifti1Image(voxels(), skewed).to_bytes())
    NO_QFORM(content)
    with pytest.raises(BadInput, match="off a right angle"):
        read(tmp_path, bytes(content))


FILES = {
    "empty": b"",
    "text": b"no image at all, but a long text " * 20,
    "xz": lzma.compress(nifti()),
    "zip": b"PK\x03\x04" + bytes(400),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(400),
    "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "gzip of nothing": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "gzip of text": gzip.compress(b"no image " * 100),
    "gzip twice": gzip.compress(gzip.compress(nifti())),
    "gzip with rubbish behind": gzip.compress(nifti()) + b"rubbish",
    "rubbish behind": nifti() + b"rubbish",
    "a second volume behind": nifti() + voxels().tobytes(),
}


@pytest.mark.parametrize("case", FILES)
def test_what_is_no_nifti_is_refused(tmp_path: Path, case: str) -> None:
    for name in ("a.nii.gz", "a.nii", "a.img"):
        with pytest.raises(BadInput) as refused:
            read(tmp_path, FILES[case], name)
        assert refused.value.remedy


@pytest.mark.parametrize(
    ("start", "said", "remedy"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "a web page", "download it again"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied', "a web page", "download it again"),
    ],
)
def test_what_stands_where_a_file_was_not_brought_is_named(
    tmp_path: Path, start: bytes, said: str, remedy: str
) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        read(tmp_path, start + b" " * 500, "a.nii.gz")
    assert remedy in refused.value.remedy


def test_members_of_one_gzip_file_follow_each_other(tmp_path: Path) -> None:
    content = nifti()
    parts = [gzip.compress(content[at : at + 5000]) for at in range(0, len(content), 5000)]
    assert right(read(tmp_path, b"".join(parts) + bytes(64), "a.nii.gz"))
