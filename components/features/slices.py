"""Which five axial slices of a patient the classifier sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.core.errors import BadInput
from components.core.vocabulary import SLICE_OFFSETS


@dataclass(frozen=True)
class Slices:
    """Five axial slices.

    Attributes:
        indices: 0-based z on the network grid, in the order of SLICE_OFFSETS; repeated where the
            tumour is thinner than the span.
        moved: how many of them are not where their offset points.
    """

    indices: tuple[int, ...]
    moved: int


def choose_slices(mask: np.ndarray, offsets: tuple[int, ...] = SLICE_OFFSETS) -> Slices:
    """The slice of largest tumour area, and the slices 2 and 4 above and below (method.md, Slices).

    A slice without tumour or beyond the volume is replaced by the nearest slice that has tumour,
    on ties the one nearer the middle of the tumour. Of slices with equal area the lowest counts.

    Offsets are slices of the network grid, whatever the scanner's slice thickness was: its z
    spacing (brain height / voxels a side, about 1.2 mm at 128) is known from the grid, so that
    ±4 spans about 1 cm. Where the scan's slices are thicker, several of the five are interpolated
    from the same two acquired slices: they are near copies, not missing data.

    Args:
        mask: bool (z, y, x) on the network grid.

    Raises:
        BadInput: an empty mask.
    """
    area = mask.sum(axis=(1, 2))
    filled = np.flatnonzero(area)
    if not len(filled):
        raise BadInput("tumour mask", "no slice has any tumour", "check the segmentation")
    largest = int(area.argmax())
    indices = tuple(_nearest(filled, largest + offset, largest) for offset in offsets)
    moved = sum(i != largest + o for i, o in zip(indices, offsets, strict=True))
    return Slices(indices, moved)


def _nearest(filled: np.ndarray, wanted: int, middle: int) -> int:
    distance = np.abs(filled - wanted)
    tied = filled[distance == distance.min()]
    return int(tied[np.abs(tied - middle).argmin()])
