"""Where a NIfTI header puts its voxels, refused where it contradicts itself."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.quaternions import quat2mat

from components.core.errors import BadInput
from components.core.imaging.grid import Grid

TOLERANCE_MM = 0.5
"""Furthest that qform, sform and pixdim may put a corner of the volume from each other."""
MAX_SKEW_DEGREES = 0.25
"""Axes nearer than this to a right-angled frame are turned onto it: 0.5 mm at 120 mm."""
SAID_DEGREES = 0.002
"""Below this, an axis off its right angle is the rounding of float32."""
MAX_DISTANCE_MM = 10_000.0
"""Further than this from the scanner's centre lies nobody."""
MIN_SPACING_MM = 1e-4

_UNITS = {1: "metres", 3: "micrometres"}
_CODES = range(6)
_CHECK = "convert it again from DICOM, or correct the header after checking left and right"


@dataclass(frozen=True)
class NiftiSpace:
    """The grid in LPS mm, and in words what was mended to get it."""

    grid: Grid
    notes: tuple[str, ...]


def space_of(path: Path, header: Any, shape: tuple[int, int, int]) -> NiftiSpace:
    """The grid of a header whose voxels are `shape` along x, y, z.

    Raises:
        BadInput: no qform and no sform; the two, or pixdim, contradict each other; units other
            than mm; an affine that is infinite, skewed, flat or far away.
    """
    units = int(header["xyzt_units"]) & 7
    if units not in (0, 2):
        unit = _UNITS.get(units, f"an unknown unit (code {units})")
        raise BadInput(
            path, f"lengths in {unit}", "set xyzt_units to mm after checking the spacing"
        )
    codes = {name: int(header[f"{name}_code"]) for name in ("qform", "sform")}
    for name, code in codes.items():
        if code not in _CODES:
            raise BadInput(path, f"{name}_code is {code}, which NIfTI does not know", _CHECK)
    spacing = np.asarray(header["pixdim"][1:4], dtype=float)
    found = {}
    if codes["sform"]:
        rows = [header[f"srow_{axis}"] for axis in "xyz"]
        found["sform"] = np.vstack([np.asarray(rows, dtype=float), [0.0, 0.0, 0.0, 1.0]])
    if codes["qform"]:
        found["qform"] = _qform(path, header, spacing)
    if not found:
        raise BadInput(path, "the header does not say which way the patient lies "
                       "(qform_code and sform_code are 0)", _CHECK)  # fmt: skip
    for name, affine in found.items():
        _check_affine(path, name, affine, shape)
    _compare(path, found, shape)
    name, affine = next(iter(found.items()))
    _check_pixdim(path, name, affine, spacing, shape)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    # Both say the same; pixdim without the rounding of nine numbers.
    exact = np.allclose(spacing, lengths, rtol=1e-5, atol=0.0)
    return _grid(path, name, affine, spacing if exact else lengths, shape)


def _qform(path: Path, header: Any, spacing: np.ndarray) -> np.ndarray:
    """4x4 matrix of the quaternion (NIfTI-1, method 2)."""
    factor = float(header["pixdim"][0])
    quaternion = np.array([header[f"quatern_{axis}"] for axis in "bcd"], dtype=float)
    offset = np.array([header[f"qoffset_{axis}"] for axis in "xyz"], dtype=float)
    square = float(quaternion @ quaternion) if np.isfinite(quaternion).all() else np.inf
    if factor not in (-1.0, 0.0, 1.0) or square > 1.0 + 1e-4:
        raise BadInput(path, "its qform is no rotation", _CHECK)
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise BadInput(path, f"voxel sizes (pixdim) of {_numbers(spacing)}", _CHECK)
    first = np.sqrt(max(0.0, 1.0 - square))
    affine = np.eye(4)
    affine[:3, :3] = quat2mat([first, *quaternion]) * spacing
    affine[:3, 2] *= -1.0 if factor < 0 else 1.0
    affine[:3, 3] = offset
    return affine


def _check_affine(path: Path, name: str, affine: np.ndarray, shape: tuple[int, ...]) -> None:
    if not np.isfinite(affine).all():
        raise BadInput(path, f"its {name} is not finite", _CHECK)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths < MIN_SPACING_MM).any() or (lengths > MAX_DISTANCE_MM).any():
        raise BadInput(path, f"its {name} has voxels of {_numbers(lengths)} mm", _CHECK)
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise BadInput(path, f"its {name} is flat: two axes point the same way", _CHECK)
    if np.abs(_corners(shape) @ affine[:3].T).max() > MAX_DISTANCE_MM:
        raise BadInput(path, f"its {name} puts it metres away from the scanner", _CHECK)


def _corners(shape: tuple[int, ...]) -> np.ndarray:
    """The eight corners in voxels, (8, 4), the last 1."""
    return np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape))], dtype=float)


def _compare(path: Path, found: dict[str, np.ndarray], shape: tuple[int, ...]) -> None:
    if len(found) < 2:
        return
    apart = _corners(shape) @ (found["sform"] - found["qform"])[:3].T
    furthest = float(np.linalg.norm(apart, axis=1).max())
    if furthest > TOLERANCE_MM:
        raise BadInput(path, f"its qform and sform disagree by up to {furthest:.1f} mm", _CHECK)


def _check_pixdim(
    path: Path, name: str, affine: np.ndarray, spacing: np.ndarray, shape: tuple[int, ...]
) -> None:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    apart = np.abs(np.abs(spacing) - lengths) * shape
    if not (apart <= TOLERANCE_MM).all():
        raise BadInput(
            path,
            f"voxel sizes (pixdim) of {_numbers(spacing)} mm contradict its {name}'s "
            f"{_numbers(lengths)} mm",
            _CHECK,
        )


def _grid(
    path: Path, name: str, affine: np.ndarray, spacing: np.ndarray, shape: tuple[int, int, int]
) -> NiftiSpace:
    """The grid in LPS, its axes right-angled; the volume's middle stays where it is."""
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    origin = affine[:3, 3]
    left, _, right = np.linalg.svd(cosines)
    square = left @ right
    apart = np.clip(np.sum(cosines * square, axis=0), -1.0, 1.0)
    skew = float(np.degrees(np.arccos(apart).max()))
    if skew > MAX_SKEW_DEGREES:
        raise BadInput(path, f"its {name} has axes {skew:.2f}° off a right angle",
                       "resample it to a grid with right angles")  # fmt: skip
    notes: tuple[str, ...] = ()
    if skew > SAID_DEGREES:
        notes = (f"axes {skew:.3f}° off a right angle were made square",)
        middle = (np.array(shape) - 1) / 2.0
        origin = affine[:3] @ [*middle, 1.0] - (square * spacing) @ middle
        cosines = square
    flip = np.array([-1.0, -1.0, 1.0])
    direction = flip[:, None] * cosines + 0.0
    return NiftiSpace(Grid.make(shape, flip * origin, spacing, direction.ravel()), notes)


def _numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in values)
