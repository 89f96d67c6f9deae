"""The box around the brain, and the two grids that fill it."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from components.core.imaging.grid import Grid
from components.preprocess.plan import PreprocessingPlan
from components.preprocess.registration.resampling import triple


def network_grid(brain: sitk.Image, plan: PreprocessingPlan) -> Grid:
    """The cubic network grid around a brain mask (method.md: bounding box, square in-plane,
    margins).

    The box is a whole number of working voxels along each axis, so that `working_grid` fills it
    exactly. It follows the axes of the mask.
    """
    extent = np.array(box_of(brain), float).reshape(2, 3)
    spacing = np.asarray(brain.GetSpacing())
    # Voxel edges, not centres: a mask of one voxel is one voxel wide.
    low, high = (extent[0] - 0.5) * spacing, (extent[1] + 0.5) * spacing
    middle, side = (low + high) / 2, high - low + 2 * np.asarray(plan.margin_mm)
    side[:2] = side[:2].max()
    side = np.ceil(side / plan.working_mm - 1e-6) * plan.working_mm
    voxel = side / plan.grid
    own = Grid.of(brain)
    axes = np.reshape(own.direction, (3, 3))
    origin = np.asarray(own.origin) + axes @ (middle - side / 2 + voxel / 2)
    return Grid((plan.grid,) * 3, triple(origin, float), triple(voxel, float), own.direction)


def box_of(mask: sitk.Image) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """First and last index (x, y, z) of a mask that is not empty."""
    inside = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)
    low, high = inside.min(axis=0)[::-1], inside.max(axis=0)[::-1]
    return triple(low, int), triple(high, int)
