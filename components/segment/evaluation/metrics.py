"""Overlap and distance of two masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from components.core.imaging.grid import Grid
from components.core.imaging.overlap import dice


@dataclass(frozen=True)
class Agreement:
    """A mask against the manual one: Dice, 95th percentile Hausdorff distance, volumes in mL."""

    dice: float
    hd95_mm: float | None
    predicted_ml: float
    true_ml: float

    @classmethod
    def of(cls, mask: np.ndarray, truth: np.ndarray, grid: Grid) -> Agreement:
        """Compare two bool arrays (z, y, x) on one grid."""
        x, y, z = grid.spacing
        predicted, true = (float(m.sum()) * grid.voxel_ml for m in (mask, truth))
        return cls(dice(mask, truth), hd95(mask, truth, (z, y, x)), predicted, true)


def hd95(
    mask: np.ndarray, truth: np.ndarray, spacing_zyx: tuple[float, float, float]
) -> float | None:
    """95th percentile Hausdorff distance in mm of two bool arrays (z, y, x).

    The larger of the two directed 95th percentiles over surface voxels, as MONAI defines it. None
    when either is empty.
    """
    if not mask.any() or not truth.any():
        return None
    box = ndimage.find_objects((mask | truth).astype(np.uint8))[0]
    mask, truth = np.pad(mask[box], 1), np.pad(truth[box], 1)
    edges = [m & ~ndimage.binary_erosion(m) for m in (mask, truth)]
    distances = [ndimage.distance_transform_edt(~edge, sampling=spacing_zyx) for edge in edges]
    return float(
        max(
            np.percentile(distances[1][edges[0]], 95),
            np.percentile(distances[0][edges[1]], 95),
        )
    )


@dataclass(frozen=True)
class Summary:
    """Dice over patients: number, mean, SD (n - 1), median, worst."""

    patients: int
    mean: float | None
    sd: float | None
    median: float | None
    worst: float | None

    @classmethod
    def of(cls, values: list[float]) -> Summary:
        """Summarise a list that may be empty."""
        if not values:
            return cls(0, None, None, None, None)
        a = np.asarray(values)
        sd = float(a.std(ddof=1)) if len(a) > 1 else None
        return cls(len(a), float(a.mean()), sd, float(np.median(a)), float(a.min()))
