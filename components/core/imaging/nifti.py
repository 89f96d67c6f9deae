"""One NIfTI file, from its bytes to voxels in patient space: nothing is read by another's name.

ITK opens an image by its name: it takes `t1c.nii` where `t1c.nii.gz` was meant, ignores a damaged
gzip stream, fills what is cut off with zeros and turns NaN into 0. The bytes are therefore decoded
here; what is hashed is what was read.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from components.core.errors import BadInput
from components.core.imaging.nifti_space import space_of

MAX_VOXELS = 1 << 28
"""More voxels than this (1 GiB as float32) are no MRI volume; 1024 x 1024 x 256 are accepted."""
MAX_FILE_BYTES = 1 << 31
"""A longer file is not opened."""

_GZIP = b"\x1f\x8b"
PADDING_BYTES = 4096
"""Fewer zeros than this, and than a slice, may follow the voxels: blocks of old file systems."""
_FORMATS = {
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
_CONVERT = "convert it to one NIfTI file (.nii or .nii.gz), best from the DICOM series"
_AGAIN = "copy or export it again"


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


def read_nifti(path: Path) -> NiftiImage:
    """Read a 3-D NIfTI-1 or NIfTI-2 single file, gzip-compressed or not, whatever its suffix.

    Trailing axes of length one are dropped.

    Raises:
        BadInput: not a single-file NIfTI, damaged, not one real 3-D volume, of no certain place in
            the body, or with NaN or infinite voxels.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BadInput(path, f"more than {MAX_FILE_BYTES >> 30} GiB", "give one MRI volume")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    packed = content.startswith(_GZIP)
    header = _header(path, _unpack(path, content, 540, whole=False) if packed else content[:540])
    shape = _shape(path, header)
    kind = _voxel_type(path, header)
    start, count = _offset(path, header), int(np.prod(shape, dtype=object))
    end = start + count * kind.itemsize
    if packed:
        content = _unpack(path, content, end + PADDING_BYTES, whole=True)
    _check_length(path, content, end, kind.itemsize * shape[0] * shape[1])
    values = np.frombuffer(content, kind, count, start).reshape(shape[::-1])
    slope, intercept = _scaling(path, header)
    space = space_of(path, header, shape)
    voxels = _scaled(path, values, slope, intercept)
    return NiftiImage(space.grid.image(voxels), digest, space.notes)


def _unpack(path: Path, content: bytes, limit: int, *, whole: bool) -> bytes:
    """Up to `limit` bytes of a gzip file; when `whole`, to its end, with its check sums.

    Several members follow each other in one file; zeros may follow the last.
    """
    parts, size, rest = [], 0, content
    while rest.strip(b"\0"):
        stream = zlib.decompressobj(31)
        try:
            part = stream.decompress(rest, limit + 1 - size)
        except zlib.error:
            raise BadInput(
                path, "not a readable image (its gzip stream is damaged)", _AGAIN
            ) from None
        parts.append(part)
        size += len(part)
        if size > limit:
            if whole:
                raise BadInput(path, "more voxels than its header says", _AGAIN)
            break
        if not stream.eof:
            if whole or size < limit:
                raise BadInput(path, "not a readable image (it ends early)", _AGAIN)
            break
        rest = stream.unused_data
    return b"".join(parts)


def _header(path: Path, content: bytes) -> Any:
    """nibabel's header of the first bytes of an unpacked file.

    Raises:
        BadInput: they are no header of a single-file NIfTI; says what they are instead.
    """
    named = next((what for magic, what in _FORMATS.items() if content.startswith(magic)), None)
    if named:
        raise BadInput(path, f"not a readable image ({named}, not NIfTI)", _CONVERT)
    sizes = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
    orders = {"<": int.from_bytes(content[:4], "little"), ">": int.from_bytes(content[:4], "big")}
    order, size = next(((o, n) for o, n in orders.items() if n in sizes), ("", 0))
    if not size and path.suffix.lower() == ".img":
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


def _shape(path: Path, header: Any) -> tuple[int, int, int]:
    """Voxels along x, y, z; axes of length one behind them are dropped."""
    axes = int(header["dim"][0])
    if not 1 <= axes <= 7:
        raise BadInput(path, f"not a readable image (it says to have {axes} axes)", _AGAIN)
    dim = [int(n) for n in header["dim"][1 : axes + 1]]
    if min(dim) < 1:
        raise BadInput(path, f"not a readable image (its size is {tuple(dim)})", _AGAIN)
    while len(dim) > 3 and dim[-1] == 1:
        dim.pop()
    if len(dim) == 5 and dim[3] == 1:
        raise BadInput(path, "a colour image or vectors", "give a single-channel MRI volume")
    if len(dim) != 3:
        raise BadInput(path, f"a {len(dim)}-D image of size {tuple(dim)}", "give one 3-D volume")
    if dim[0] * dim[1] * dim[2] > MAX_VOXELS:
        raise BadInput(path, f"its header says {tuple(dim)} voxels", "give one MRI volume")
    return dim[0], dim[1], dim[2]


def _voxel_type(path: Path, header: Any) -> np.dtype:
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
        raise BadInput(path, f"datatype {code} and {bits} bits a voxel contradict", _AGAIN)
    return kind


def _offset(path: Path, header: Any) -> int:
    """Byte at which the voxels start."""
    start, least = float(header["vox_offset"]), int(header["sizeof_hdr"]) + 4
    if not np.isfinite(start) or start != int(start) or not least <= start < 1 << 28:
        raise BadInput(path, f"not a readable image (voxels at byte {start:g})", _AGAIN)
    return int(start)


def _check_length(path: Path, content: bytes, end: int, slice_bytes: int) -> None:
    if len(content) < end:
        raise BadInput(path, "not a readable image (it ends early)", "copy it again")
    rest = content[end:]
    if len(rest) >= min(slice_bytes, PADDING_BYTES) or rest.strip(b"\0"):
        raise BadInput(path, "more voxels than its header says", _AGAIN)


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
    if not np.isfinite(voxels).all():
        raise BadInput(path, "NaN or infinite voxels", "export the image again")
    return voxels
