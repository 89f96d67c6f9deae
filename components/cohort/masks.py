"""What a mask is: one reading of it for validation, training, features and given brains."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from components.cohort.images import read_voxels
from components.core.errors import BadInput
from components.core.imaging.grid import Grid

MAX_LABELS = 8
"""Values (0 among them) of a label map of one tumour; more are an image, or an atlas."""
_MANY = 1000
"""So many different values are an image's, whatever the rest of it holds."""
WHOLE_NUMBER = 0.01
"""Furthest from a whole number that a label may lie: 0.9999 is 1."""
SAME_PLACE_MM = 0.5
"""A mask of the T1C's size whose corners lie no further from the T1C's is on its grid."""


def read_mask(path: Path | str) -> sitk.Image:
    """Read a mask as uint8, 1 wherever a label above 0 is drawn, on its own grid.

    Understood are {0, 1}, label maps (1, 2, 4 ...: their union), {0, 255} and any other single
    value above 0.

    Raises:
        BadInput: as `read_image` does; or a probability map, an image, or a map without background.
    """
    image = read_voxels(path)
    array = sitk.GetArrayViewFromImage(image)
    values = _values(array)
    problem, remedy = _problem(values)
    if problem:
        raise BadInput(path, problem, remedy)
    drawn = sitk.GetImageFromArray((array > 0).astype(np.uint8))
    drawn.CopyInformation(image)
    return drawn


def _values(array: np.ndarray) -> np.ndarray:
    """Different values, ascending; of an image some, its smallest and largest among them."""
    found = np.array([array.min(), array.max()])
    for plane in array:
        found = np.union1d(found, plane)
        if len(found) > _MANY:
            break
    return found


def _problem(values: np.ndarray) -> tuple[str, str]:
    """What is wrong with a mask of these values (ascending), and the remedy; both may be empty."""
    count = len(values)
    if values[0] < 0:
        return f"{count} different values in a mask, some below 0", "give a mask of 0 and 1"
    if count == 2 and values[0] == 0:
        return "", ""
    fractions = np.abs(values - np.rint(values)).max() > WHOLE_NUMBER
    if fractions and values[-1] <= 1.0 + WHOLE_NUMBER:
        return (f"{count} different values in a mask, 0 to 1: a probability map or an interpolated "
                "mask", "choose a threshold and save 0 and 1")  # fmt: skip
    if fractions or count > MAX_LABELS:
        return f"{count} different values in a mask: an image", "give a mask, not an image"
    if count > 2 and 255 in values:
        return (f"{count} different grey values up to 255 in a mask: soft edges, or labels?",
                "save 0 and 1, or number the labels 1, 2, 3")  # fmt: skip
    if values[0] > 0 and count > 1:
        return "a mask without background: nowhere 0", "save 0 outside of what is drawn"
    return "", ""


def off_grid_mm(mask: Grid, sequences: Iterable[Grid]) -> float:
    """How far a mask of the T1C's size lies from the T1C, in mm at the worst corner.

    The first of `sequences` is the T1C's grid. 0 for a mask of another size, and for one on any of
    the grids: which way their axes run does not matter.
    """
    corners = _corners(mask)
    grids = list(sequences)
    if sorted(mask.size) != sorted(grids[0].size):
        return 0.0
    apart = [_furthest(corners, _corners(grid)) for grid in grids]
    return 0.0 if min(apart) <= SAME_PLACE_MM else apart[0]


def _corners(grid: Grid) -> np.ndarray:
    """LPS mm of the eight corner voxels, (8, 3)."""
    ends = product(*((0, n - 1) for n in grid.size))
    return np.array([(*end, 1) for end in ends], dtype=float) @ grid.affine[:3].T


def _furthest(one: np.ndarray, two: np.ndarray) -> float:
    """Largest distance in mm from a corner of one box to the nearest of the other's."""
    return float(np.linalg.norm(one[:, None] - two[None], axis=2).min(axis=1).max())
