"""What a NIfTI header claims, checked before anything is made of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nibabel import Nifti1Header
from nibabel.spatialimages import HeaderDataError

from components.core.errors import BadInput

HEADER_BYTES = 352
_FIELDS_BYTES = 348
"""Behind them four bytes say whether the header has extensions."""

_MAGIC = b"n+1\x00"
FIRST = (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c")
"""The first four bytes of a NIfTI-1 file, little-endian and big-endian."""

_REMEDY = "export it again as one 3-D NIfTI volume"
_REAL = (2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280)
"""Codes of NIfTI's integer and floating-point types (nifti1.h, DT_*)."""

_SCALES_MM = (0.01, 100.0)
"""Sides of a plausible voxel."""


def check_header(header: bytes, name: str, most_voxels: int) -> int:
    """Bytes that a NIfTI-1 file with this header has.

    Args:
        header: the first HEADER_BYTES bytes.
        name: subject of errors.

    Raises:
        BadInput: not the header of one real 3-D volume of at most `most_voxels` in a place.
    """
    if len(header) < HEADER_BYTES or not header.startswith(FIRST) or header[344:348] != _MAGIC:
        raise BadInput(name, "not a single-file NIfTI-1 volume", _REMEDY)
    try:
        # Not from_fileobj, which would look for the header's extensions.
        fields = Nifti1Header(header[:_FIELDS_BYTES], check=False)
    except (HeaderDataError, ValueError):
        raise BadInput(name, "not a NIfTI-1 header", _REMEDY) from None
    code = int(fields["datatype"])
    if code not in _REAL:
        raise BadInput(name, "complex, colour or unknown voxels", _REMEDY)
    voxels = _voxels(fields, name)
    if voxels > most_voxels:
        raise BadInput(name, f"more than {most_voxels} voxels", "send one 3-D volume")
    _check_place(fields, name)
    offset = float(fields["vox_offset"])
    if not HEADER_BYTES <= offset <= 1 << 20 or offset != int(offset):
        raise BadInput(name, "voxels that begin at no place in the file", _REMEDY)
    return int(offset) + voxels * fields.get_data_dtype().itemsize


def _voxels(fields: Any, name: str) -> int:
    count, *sizes = (int(size) for size in fields["dim"])
    if not 3 <= count <= 7 or min(sizes[:count]) < 1 or any(s != 1 for s in sizes[3:count]):
        raise BadInput(name, "no 3-D volume", _REMEDY)
    return math.prod(sizes[:3])


def _check_place(fields: Any, name: str) -> None:
    """Voxel sizes, and whichever affine the header says to use."""
    sides = np.asarray(fields["pixdim"][1:4], float)
    low, high = _SCALES_MM
    if not ((sides >= low) & (sides <= high)).all():
        raise BadInput(name, "voxels of no plausible size", _REMEDY)
    parts = [fields["scl_slope"], fields["scl_inter"]]
    if int(fields["sform_code"]) > 0:
        rows = np.array([fields["srow_x"], fields["srow_y"], fields["srow_z"]], float)
        if not np.isfinite(rows).all() or abs(np.linalg.det(rows[:, :3])) < low**3:
            raise BadInput(name, "an affine that is not finite or flat", _REMEDY)
    if int(fields["qform_code"]) > 0:
        parts += [fields[key] for key in ("quatern_b", "quatern_c", "quatern_d")]
        parts += [fields[key] for key in ("qoffset_x", "qoffset_y", "qoffset_z")]
        if not np.isfinite(np.asarray(parts[2:], float)).all():
            raise BadInput(name, "an affine that is not finite or flat", _REMEDY)
    if np.isinf(np.asarray(parts[:2], float)).any():
        raise BadInput(name, "an infinite scale", _REMEDY)
