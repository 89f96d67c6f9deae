"""The numeric features of one mask file, as `glioflow features` prints them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from components.cohort.image_checks.checks import ImageLimits, first_failure, image_checks
from components.cohort.image_checks.facts import MASK, ImageFacts, measure_mask, measure_volume
from components.cohort.images import read_image
from components.cohort.manifest import AGE_YEARS
from components.cohort.masks import read_mask
from components.core.errors import BadInput
from components.core.imaging.grid import Grid, resample, working_grid
from components.core.vocabulary import AGE, REGIONS, Sequence
from components.features.loci import loci_features
from components.features.shape import shape_features
from components.preprocess.plan import make_plan
from components.preprocess.settings import PreprocessSettings

log = logging.getLogger(__name__)

_ISOTROPY_MM = 1e-4
"""Voxels this near to the working spacing are not resampled: the values stay pyradiomics' own."""


def features_of_mask(
    mask_path: Path | str,
    t1c_path: Path | str | None = None,
    age: float | None = None,
    settings: PreprocessSettings | None = None,
) -> dict[str, float | None]:
    """The 14 shape features, the 9 loci and the age: name -> value, None where unknown.

    The mask is brought to isotropic voxels of `settings.working_mm` first (1 mm, the paper's
    working
    space), where it is not there already. The loci need the T1C: its brain is found and aligned to
    MNI152; without it they are None, and a warning says so.

    Args:
        mask_path: NIfTI, non-zero inside the tumour, in the T1C's space (any grid).
        age: years.
        settings: preprocessing; the paper's unless given.

    Raises:
        BadInput: an unreadable or implausible image, no mask or an empty one, a mask beside the
            T1C, or an impossible age.
    """
    if age is not None and not AGE_YEARS[0] <= age <= AGE_YEARS[1]:
        raise BadInput("--age", f"{age} is out of range", "give the age in years, 18 to 110")
    settings = settings or PreprocessSettings()
    drawn = read_mask(mask_path)
    _refuse_empty(mask_path, sitk.GetArrayViewFromImage(drawn))
    t1c = None if t1c_path is None else read_image(t1c_path)
    _refuse_implausible(mask_path, drawn, t1c_path, t1c, settings.images)
    mask, grid = _on_working(drawn, settings.working_mm)
    _refuse_empty(mask_path, mask)
    values: dict[str, float | None] = dict(shape_features(mask, grid))
    values |= dict.fromkeys(REGIONS)
    if t1c is None:
        log.warning("the nine loci are missing: they need the T1C (--t1c)")
    else:
        values |= _loci(mask, grid, t1c, settings)
    return values | {AGE: age}


def _refuse_empty(path: Path | str, mask: np.ndarray) -> None:
    if not mask.any():
        raise BadInput(path, "the mask is empty", "give a mask of the tumour, non-zero inside")


def _refuse_implausible(
    mask_path: Path | str,
    mask: sitk.Image,
    t1c_path: Path | str | None,
    t1c: sitk.Image | None,
    limits: ImageLimits,
) -> None:
    """Hold both to what validation holds them to; a mask may have few slices, being cropped."""
    checks = image_checks(limits, (Sequence.T1C,))
    fact = measure_mask(ImageFacts("", MASK, str(mask_path)), mask, [] if t1c is None else [t1c])
    if fact.overlap == 0.0:
        raise BadInput(t1c_path, "the mask lies outside of it", "give the T1C of the same patient")
    found = [first_failure(fact, [check for check in checks if check.column != "slices"])]
    if t1c is not None:
        seen = measure_volume(ImageFacts("", Sequence.T1C.value, str(t1c_path)), t1c, t1c)
        found.append(first_failure(seen, checks))
    for failure in found:
        if failure is not None:
            raise failure


def _on_working(drawn: sitk.Image, spacing_mm: float) -> tuple[np.ndarray, Grid]:
    """The mask as bool (z, y, x) on an isotropic grid whose third axis is the axial one."""
    direction = np.abs(np.reshape(drawn.GetDirection(), (3, 3)))
    if (direction.argmax(axis=0) != np.arange(3)).any():
        drawn = sitk.DICOMOrient(drawn, "LPS")
    inside = sitk.GetArrayViewFromImage(drawn) > 0
    grid = Grid.of(drawn)
    if np.allclose(grid.spacing, spacing_mm, rtol=0, atol=_ISOTROPY_MM):
        return inside, grid
    working = working_grid(grid, spacing_mm)
    return resample(inside.astype(np.float32), grid, working) > 0.5, working


def _loci(
    mask: np.ndarray, grid: Grid, t1c: sitk.Image, settings: PreprocessSettings
) -> dict[str, float]:
    from components.preprocess.atlas.regions import atlas_of
    from components.preprocess.registration.space import locate_in_mni

    to_mni = locate_in_mni(t1c, make_plan(settings))
    return loci_features(mask, grid, to_mni, atlas_of(settings.atlas))
