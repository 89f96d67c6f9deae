"""Linear alignment of two images by mutual information, coarse to fine, from several starts.

Mattes mutual information on a regular raster of samples with a fixed seed, one thread: the same
input gives the same bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import SimpleITK as sitk

from components.core.errors import Implausible
from components.preprocess.registration.level import PyramidLevel, level_of
from components.preprocess.registration.resampling import as_matrix, as_transform
from components.preprocess.settings import AlignSettings

_ANGLE = np.deg2rad(15.0)
"""Rotation of the perturbed starts; each level's capture range is about that wide again."""

_STRETCH = (0.7, 1.45)
"""Singular values an affine between two brains may have; beyond, the rigid result is kept."""

_FINE_STEP_MM = 0.5
"""First step of an affine stage: longer ones have diverged."""

_LOOK = "look at the images: one of them is empty or cut"


class Kind(StrEnum):
    """Families of linear transforms."""

    RIGID = "rigid"
    SIMILARITY = "similarity"
    AFFINE = "affine"


_FAMILY: dict[Kind, Callable[[], Any]] = {
    Kind.RIGID: sitk.Euler3DTransform,
    Kind.SIMILARITY: sitk.Similarity3DTransform,
    Kind.AFFINE: lambda: sitk.AffineTransform(3),
}


@dataclass(frozen=True)
class Alignment:
    """Where each point of the fixed image lies in the moving one.

    Attributes:
        matrix: 4x4, LPS mm in the fixed image's space -> LPS mm in the moving one's.
        similarity: mutual information in nats on the finest level, greater is better.
        kind: family of the transform that was kept.
        notes: what a reader must know (a stage refused, an alignment skipped).
    """

    matrix: np.ndarray
    similarity: float
    kind: Kind
    notes: tuple[str, ...] = ()


def align(
    fixed: sitk.Image,
    moving: sitk.Image,
    settings: AlignSettings,
    *,
    mask: sitk.Image | None = None,
    mask_last: bool = False,
    first: Kind = Kind.RIGID,
    start: np.ndarray | None = None,
) -> Alignment:
    """Align `moving` to `fixed`.

    Args:
        mask: uint8 on any grid in the fixed image's space; the metric is taken where it is 1.
        mask_last: take the mask on the finest level only. On the coarser ones the outline of the
            whole head leads the way; within a mask there are places with little overlap that share
            more information than the true one, and the optimiser has gone there from 3 mm away.
        first: family of the first stage; a similarity transform fits two heads better.
        start: 4x4, where to begin (as `Alignment.matrix`). None begins from the headers and from
            the centres of mass, each upright and turned 15 degrees about every axis.

    Raises:
        Implausible: an image is empty where the other one is not.
    """
    levels = [
        level_of(
            fixed,
            moving,
            None if mask_last and mm != settings.levels_mm[-1] else mask,
            mm,
            settings,
        )
        for mm in settings.levels_mm
    ]
    centre = _centroid(levels[0].fixed, levels[0].mask)
    if start is None:
        shift = _centroid(levels[0].moving) - _centroid(levels[0].fixed)
        starts = turned(centre, np.zeros(3)) + turned(centre, shift)
    else:
        starts = [start]
    if not np.isfinite(starts).all():
        raise Implausible("registration", "an image shows nothing there", _LOOK, "registration")
    best = _coarsest(levels[0], starts, first, centre)
    for level in levels[1:]:
        best = _refine(level, best, first, centre, step_mm=level.mm / 2.0)
    if settings.search:
        best = _polish(levels[-1], best, first, centre)
    if settings.degrees_of_freedom == 6:
        return Alignment(best, levels[-1].similarity(as_transform(best)), first)
    return _affine(levels, best, first, centre, settings)


def turned(centre: np.ndarray, shift: np.ndarray) -> list[np.ndarray]:
    """Seven starts: a shift (LPS mm), upright and turned 15 degrees either way about each axis."""
    turns = [np.zeros(3)] + [sign * _ANGLE * axis for axis in np.eye(3) for sign in (-1.0, 1.0)]
    return [as_matrix(_rigid(centre, turn, shift)) for turn in turns]


def is_aligned(
    fixed: sitk.Image, moving: sitk.Image, settings: AlignSettings, mask: sitk.Image | None = None
) -> bool:
    """Whether the identity is a better alignment than each of 12 shifts (3 mm) and turns (3°)."""
    level = level_of(fixed, moving, mask, min(settings.levels_mm[0], 4.0), settings)
    here = level.similarity(sitk.Euler3DTransform())
    centre = _centroid(level.fixed, level.mask)
    for axis, sign, turn in itertools.product(range(3), (-1.0, 1.0), (False, True)):
        offset = sign * np.eye(3)[axis]
        angles, shift = (np.deg2rad(3.0) * offset, 0 * offset) if turn else (0 * offset, 3 * offset)
        if level.similarity(_rigid(centre, angles, shift)) >= here:
            return False
    return bool(np.isfinite(here))


def _centroid(image: sitk.Image, mask: sitk.Image | None = None) -> np.ndarray:
    """LPS mm of the centre of the mask, or of the voxels brighter than the mean (the head)."""
    if mask is not None:
        inside = sitk.GetArrayViewFromImage(mask) > 0
    else:
        values = sitk.GetArrayViewFromImage(image)
        inside = values > values.mean()
    index = np.array([axis.mean() for axis in np.nonzero(inside)])[::-1]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(index.tolist()))


def _rigid(centre: np.ndarray, angles: np.ndarray, shift: np.ndarray) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre.tolist())
    transform.SetRotation(*(float(angle) for angle in angles))
    transform.SetTranslation(shift.tolist())
    return transform


def _coarsest(
    level: PyramidLevel, starts: list[np.ndarray], kind: Kind, centre: np.ndarray
) -> np.ndarray:
    """The most similar `settings.starts` of the starts, optimised; all where that ends poorly."""
    ranked = sorted(starts, key=lambda start: level.similarity(as_transform(start)), reverse=True)
    count = level.settings.starts
    best, similarity = _best(level, ranked[:count], kind, centre)
    if similarity < level.settings.second_opinion and ranked[count:]:
        other, second = _best(level, ranked[count:], kind, centre)
        best = other if second > similarity else best
    return best


def _best(
    level: PyramidLevel, starts: list[np.ndarray], kind: Kind, centre: np.ndarray
) -> tuple[np.ndarray, float]:
    found = [_refine(level, start, kind, centre, step_mm=level.mm / 2.0) for start in starts]
    scores = [level.similarity(as_transform(matrix)) for matrix in found]
    index = int(np.argmax(scores))
    return found[index], scores[index]


def _refine(
    level: PyramidLevel, matrix: np.ndarray, kind: Kind, centre: np.ndarray, *, step_mm: float
) -> np.ndarray:
    """Optimise within `kind`; the start is kept where the optimiser did not better it."""
    start = _parametrised(matrix, kind, centre)
    return _better(level, start, level.descend(start, step_mm))


def _polish(level: PyramidLevel, matrix: np.ndarray, kind: Kind, centre: np.ndarray) -> np.ndarray:
    """Search around the best place that the gradient led to."""
    start = _parametrised(matrix, kind, centre)
    return _better(level, start, level.search(start))


def _better(level: PyramidLevel, start: sitk.Transform, found: sitk.Transform | None) -> np.ndarray:
    if found is None or not np.isfinite(as_matrix(found)).all():
        return as_matrix(start)
    better = level.similarity(found) >= level.similarity(start)
    return as_matrix(found if better else start)


def _parametrised(matrix: np.ndarray, kind: Kind, centre: np.ndarray) -> sitk.Transform:
    """A 4x4 matrix as a transform of the given family, centred on the head."""
    linear, moved = matrix[:3, :3], matrix[:3, :3] @ centre + matrix[:3, 3]
    if kind is not Kind.AFFINE:
        left, scales, right = np.linalg.svd(linear)
        scale = float(np.cbrt(scales.prod())) if kind is Kind.SIMILARITY else 1.0
        linear = left @ right * scale
    transform = _FAMILY[kind]()
    transform.SetMatrix(linear.ravel().tolist())
    transform.SetCenter(centre.tolist())
    transform.SetTranslation((moved - centre).tolist())
    return transform


def _affine(
    levels: list[PyramidLevel],
    rigid: np.ndarray,
    first: Kind,
    centre: np.ndarray,
    settings: AlignSettings,
) -> Alignment:
    """Let all twelve degrees of freedom go, on the finer levels."""
    best = rigid
    fine = [level for level in levels if level.mm <= settings.affine_from_mm] or levels[-1:]
    for level in fine:
        best = _refine(level, best, Kind.AFFINE, centre, step_mm=min(_FINE_STEP_MM, level.mm / 4))
    stretch = np.linalg.svd(best[:3, :3], compute_uv=False)
    after = levels[-1].similarity(as_transform(best))
    before = levels[-1].similarity(as_transform(rigid))
    if stretch.min() < _STRETCH[0] or stretch.max() > _STRETCH[1] or after < before:
        note = f"the affine stage was refused, the {first.value} alignment is kept"
        return Alignment(rigid, before, first, (note,))
    return Alignment(best, after, Kind.AFFINE)
