"""What the benches of preprocessing measure with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk

from components.core.imaging.grid import Grid
from components.core.vocabulary import Sequence
from components.preprocess.registration.resampling import isotropic, resample_to
from components.preprocess.registration.space import Space

Note = Callable[[str, float, str], None]
"""Called with (what was measured, its value, its unit)."""

Images = dict[Sequence, sitk.Image]

_EVERY = 61
"""Every so many-th brain voxel is followed through two alignments."""


@contextmanager
def timed(note: Note, what: str) -> Iterator[None]:
    """Note the CPU seconds, of all threads, that a block takes."""
    started = time.process_time()
    yield
    note(what, time.process_time() - started, "s")


def displacement(one: np.ndarray, two: np.ndarray, brain: sitk.Image) -> float:
    """Mean distance in mm between where two 4x4 matrices send the brain's voxels."""
    grid = Grid.of(brain)
    voxels = np.argwhere(sitk.GetArrayFromImage(brain) > 0)[::_EVERY, ::-1]
    points = np.c_[voxels, np.ones(len(voxels))] @ grid.affine.T
    return float(np.linalg.norm((points @ (one - two).T)[:, :3], axis=1).mean())


def on_one_mm(image: sitk.Image, brain: sitk.Image) -> tuple[np.ndarray, np.ndarray, Grid]:
    """An image and the brain mask (z, y, x) on 1-mm voxels over the image's field of view."""
    grid = isotropic(image, 1.0)
    soft = resample_to(sitk.Cast(brain, sitk.sitkFloat32), grid)
    return (
        sitk.GetArrayFromImage(resample_to(image, grid)),
        sitk.GetArrayFromImage(soft) > 0.5,
        grid,
    )


def mean_change(one: np.ndarray, two: np.ndarray, brain: np.ndarray) -> float:
    """Mean absolute difference of two images' z-scores over the brain."""
    scores = [(v[brain] - v[brain].mean()) / v[brain].std() for v in (one, two)]
    return float(np.abs(scores[0] - scores[1]).mean())


def brain_in(name: Sequence, space: Space, image: sitk.Image) -> sitk.Image:
    """The brain mask on a sequence's own grid."""
    brain = sitk.Cast(space.brain.mask, sitk.sitkFloat32)
    if name not in space.aligned:
        return brain
    back = np.linalg.inv(space.aligned[name].matrix)
    return resample_to(brain, Grid.of(image), back)
