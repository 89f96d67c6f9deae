"""One NIfTI file, from its bytes to voxels in patient space: nothing is read by another's name.

ITK opens an image by its name: it takes `t1c.nii` where `t1c.nii.gz` was meant, ignores a damaged
gzip stream, fills what is cut off with zeros and turns NaN into 0. The bytes are therefore decoded
here; what is hashed is what was read.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from components.core.errors import BadInput
from components.core.imaging.nifti_space import space_of
from components.core.imaging.nifti_stream import AGAIN, GZIP, DecodedFile

MAX_VOXELS = 176 << 20
"""More voxels than 1024 x 1024 x 176 (704 MiB as float32) are no MRI volume."""
MAX_AXIS = 4096
"""More voxels along one axis are none either."""
MAX_FILE_BYTES = 1 << 31
"""A longer file is not opened."""
MAX_VALUE = 1e9
"""A voxel further from 0 is damage: scanners and their software write up to 10^7."""
_SLAB_VOXELS = 1 << 21
"""Voxels that are decoded at a time, but a slice at least."""
HEADER_BYTES = 540
PADDING_BYTES = 4096
"""Fewer zeros than this, and than a slice, may follow the voxels: blocks of old file systems."""
_FORMATS = {
    GZIP: "compressed by gzip twice",
    b"PK\x03\x04": "a ZIP archive",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x04\x22\x4d\x18": "compressed by lz4",
    b"\x89HDF": "an HDF5 or MINC file",
    b"NRRD": "an NRRD file",
    b"ObjectType": "a MetaImage file",
}
"""First bytes of what is sometimes sent under a NIfTI's name."""
_NOT_THERE = {
    b"version https://git-lfs": ("a pointer of Git LFS", "fetch the file itself: git lfs pull"),
    b"<": ("a web page or XML", "download it again: this is an answer in words, not the file"),
}
"""First bytes of what stands where a file was not brought: what it is, and the remedy."""
_CONVERT = "convert it to one NIfTI file (.nii or .nii.gz), best from the DICOM series"


@dataclass(frozen=True)
class NiftiImage:
    """A NIfTI file as read.

    Attributes:
        image: float32 on its grid in LPS mm, scaled by slope and intercept; all finite.
        sha256: hex digest of the file's bytes, the very ones that were decoded.
        notes: what was mended on the way, in words.
    """

    image: sitk.Image
    sha256: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class NiftiLayout:
    """How the voxels lie in a decoded file.

    Attributes:
        header: nibabel's.
        shape: voxels along x, y, z.
        kind: the numbers' type, byte order included.
        offset: byte at which they start.
    """

    header: Any
    shape: tuple[int, int, int]
    kind: np.dtype
    offset: int

    @property
    def voxels(self) -> int:
        """How many there are."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def end(self) -> int:
        """Byte behind the last voxel."""
        return self.offset + self.voxels * self.kind.itemsize


def layout_of(path: Path | str, start: bytes) -> NiftiLayout:
    """What a file's first HEADER_BYTES bytes, decoded, say of its voxels.

    Raises:
        BadInput: no single-file NIfTI, or not of one real 3-D volume.
    """
    header = _header(path, start)
    shape = _shape(path, header)
    return NiftiLayout(header, shape, _voxel_type(path, header), _offset(path, header))


def read_nifti(path: Path) -> NiftiImage:
    """Read a 3-D NIfTI-1 or NIfTI-2 single file, gzip-compressed or not, whatever its suffix.

    Trailing axes of length one are dropped.

    Raises:
        BadInput: not a single-file NIfTI, damaged, not one real 3-D volume, of no certain place in
            the body, or with NaN or infinite voxels.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise BadInput(path, f"more than {MAX_FILE_BYTES >> 30} GiB", "give one MRI volume")
    with path.open("rb") as stream:
        content = DecodedFile(path, stream)
        layout = layout_of(path, content.peek(HEADER_BYTES))
        scaling = _scaling(path, layout.header)
        space = space_of(path, layout.header, layout.shape)
        content.skip(layout.offset)
        image = _voxels(path, content, layout, scaling)
        check_end(path, content, layout)
    for name in ("Origin", "Spacing", "Direction"):
        getattr(image, f"Set{name}")(getattr(space.grid, name.lower()))
    return NiftiImage(image, content.sha256, space.notes)


def _voxels(
    path: Path,
    content: DecodedFile,
    layout: NiftiLayout,
    scaling: tuple[float, float],
) -> sitk.Image:
    """Decode a few slices at a time into the image: nothing else is as large as it is."""
    image = sitk.Image(list(layout.shape), sitk.sitkFloat32)
    columns, rows, slices = layout.shape
    thick = max(1, _SLAB_VOXELS // (columns * rows))
    for first in range(0, slices, thick):
        here = min(thick, slices - first)
        wanted = here * rows * columns * layout.kind.itemsize
        slab = content.read(wanted)
        if len(slab) < wanted:
            raise BadInput(path, "not a readable image (it ends early)", "copy it again")
        values = np.frombuffer(slab, layout.kind).reshape(here, rows, columns)
        image[:, :, first : first + here] = sitk.GetImageFromArray(_scaled(path, values, *scaling))
    return image


def _header(path: Path | str, content: bytes) -> Any:
    """nibabel's header of the first bytes of an unpacked file.

    Raises:
        BadInput: they are no header of a single-file NIfTI; says what they are instead.
    """
    named = next((what for magic, what in _FORMATS.items() if content.startswith(magic)), None)
    if named:
        raise BadInput(path, f"not a readable image ({named}, not NIfTI)", _CONVERT)
    for magic, (what, remedy) in _NOT_THERE.items():
        if content.lstrip().startswith(magic):
            raise BadInput(path, f"not a readable image ({what}, not NIfTI)", remedy)
    sizes = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
    orders = {"<": int.from_bytes(content[:4], "little"), ">": int.from_bytes(content[:4], "big")}
    order, size = next(((o, n) for o, n in orders.items() if n in sizes), ("", 0))
    if not size and str(path).lower().endswith(".img"):
        raise BadInput(path, "the voxels of a header/image pair, which tell no place", _CONVERT)
    if not size or len(content) < size:
        short = "it ends early" if len(content) < 348 and content else "not NIfTI"
        raise BadInput(path, f"not a readable image ({short})", _CONVERT)
    magic = content[344:348] if size == 348 else content[4:12]
    if magic in (b"ni1\0", b"ni2\0\r\n\x1a\n"):
        raise BadInput(path, "a NIfTI header whose voxels lie in another file", _CONVERT)
    if magic not in (b"n+1\0", b"n+2\0\r\n\x1a\n"):
        problem = (
            "not a readable image (Analyze, or a damaged NIfTI header: left and right unknown)"
        )
        raise BadInput(path, problem, _CONVERT)
    return sizes[size].from_fileobj(io.BytesIO(content[:size]), order, check=False)


def _shape(path: Path | str, header: Any) -> tuple[int, int, int]:
    """Voxels along x, y, z; axes of length one behind them are dropped."""
    axes = int(header["dim"][0])
    if not 1 <= axes <= 7:
        raise BadInput(path, f"not a readable image (it says to have {axes} axes)", AGAIN)
    dim = [int(n) for n in header["dim"][1 : axes + 1]]
    if min(dim) < 1:
        raise BadInput(path, f"not a readable image (its size is {tuple(dim)})", AGAIN)
    while len(dim) > 3 and dim[-1] == 1:
        dim.pop()
    if len(dim) == 5 and dim[3] == 1:
        raise BadInput(path, "a colour image or vectors", "give a single-channel MRI volume")
    if len(dim) != 3:
        raise BadInput(path, f"a {len(dim)}-D image of size {tuple(dim)}", "give one 3-D volume")
    if dim[0] * dim[1] * dim[2] > MAX_VOXELS or max(dim) > MAX_AXIS:
        raise BadInput(path, f"its header says {tuple(dim)} voxels, more than {MAX_VOXELS} or "
                       f"{MAX_AXIS} along an axis", "give one MRI volume")  # fmt: skip
    return dim[0], dim[1], dim[2]


def _voxel_type(path: Path | str, header: Any) -> np.dtype:
    """The numbers' type, byte order included."""
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code in (128, 2304):
        raise BadInput(path, "a colour image", "give a single-channel MRI volume")
    if code in (32, 1792, 2048):
        raise BadInput(path, "complex voxels", "give the magnitude image")
    kinds = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4",
             1024: "i8", 1280: "u8"}  # fmt: skip
    if code not in kinds:
        raise BadInput(path, f"voxels of an unusual type (NIfTI datatype {code})",
                       "save it as int16 or float32")  # fmt: skip
    kind = np.dtype(kinds[code]).newbyteorder(header.endianness)
    if bits != kind.itemsize * 8:
        raise BadInput(path, f"datatype {code} and {bits} bits a voxel contradict", AGAIN)
    return kind


def _offset(path: Path | str, header: Any) -> int:
    """Byte at which the voxels start."""
    start, least = float(header["vox_offset"]), int(header["sizeof_hdr"]) + 4
    if not np.isfinite(start) or start != int(start) or not least <= start < 1 << 28:
        raise BadInput(path, f"not a readable image (voxels at byte {start:g})", AGAIN)
    return int(start)


def check_end(path: Path | str, content: DecodedFile, layout: NiftiLayout) -> None:
    """Read on behind the voxels to the end, with its check sums: a few zeros may stand there."""
    rest = content.read(PADDING_BYTES)
    slice_bytes = layout.kind.itemsize * layout.shape[0] * layout.shape[1]
    if len(rest) >= min(slice_bytes, PADDING_BYTES) or rest.strip(b"\0"):
        raise BadInput(path, "more voxels than its header says", AGAIN)


def _scaling(path: Path, header: Any) -> tuple[float, float]:
    """(slope, intercept). A slope of 0, or of NaN without intercept, means none (NIfTI-1)."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0.0 or (np.isnan(slope) and (np.isnan(intercept) or intercept == 0.0)):
        return 1.0, 0.0
    if not (np.isfinite(slope) and np.isfinite(intercept)) or slope < 0.0:
        raise BadInput(
            path, f"its voxels are scaled by {slope:g} and {intercept:g}", "export the image again"
        )
    return slope, intercept


def _scaled(path: Path, values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        if (slope, intercept) != (1.0, 0.0):
            values = values * slope + intercept
        voxels = np.ascontiguousarray(values, dtype=np.float32)
    low, high = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise BadInput(path, "NaN or infinite voxels", "export the image again")
    if max(-low, high) > MAX_VALUE:
        raise BadInput(path, f"voxels of {low if -low > high else high:g}, beyond {MAX_VALUE:g}",
                       "export the image again")  # fmt: skip
    return voxels
