"""Heads that mislead brain extraction: how much of brain and tumour is kept, against the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from components.cohort.manifest import Patient, read_manifest
from components.cohort.phantom.dataset import make_cohort
from components.cohort.phantom.parameters import PhantomParameters, Tumor
from components.cohort.phantom.settings import PhantomSettings
from components.cohort.phantom.sites import site_named
from components.core.imaging.grid import Grid
from components.preprocess.brain.extraction import extract_brain
from components.preprocess.registration.resampling import resample_to
from components.preprocess.settings import BrainSettings
from tests.preprocess.factories import brain_of, overlap

pytestmark = pytest.mark.slow

GLIOBLASTOMA = Tumor(
    centre=(30.0, -20.0, 40.0),
    radii=(28.0, 26.0, 27.0),
    rotation=(0.2, 0.1, 0.3),
    roughness=0.12,
    core=0.75,
    enhancement=1.0,
    necrosis=0.55,
    mismatch=0.0,
    t2=1.9,
)
"""Large, with a thick bright rim and a dark middle."""

TUMORS = {
    "large enhancing": GLIOBLASTOMA,
    "cystic": replace(GLIOBLASTOMA, enhancement=0.3, necrosis=0.9, core=0.95),
    "at the cortex": replace(GLIOBLASTOMA, centre=(60.0, -20.0, 30.0), radii=(16.0, 18.0, 17.0)),
    "posterior fossa": replace(GLIOBLASTOMA, centre=(22.0, -62.0, -36.0), radii=(15.0, 15.0, 14.0)),
    "oedema at the vertex": replace(
        GLIOBLASTOMA, centre=(18.0, -25.0, 68.0), core=0.2, enhancement=0.0, necrosis=0.0
    ),
}


def surface_coil(values: np.ndarray, brain: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Eight times as bright under a coil at the back of the head, falling off within 40 mm."""
    y = np.arange(values.shape[1]) * spacing[1]
    away = (y.max() - y)[None, :, None]
    return values * (1.0 + 7.0 * np.exp(-away / 40.0))


def filled_sinuses(values: np.ndarray, brain: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """A superior sagittal sinus full of contrast agent, and vessels on the brain's surface."""
    away = ndimage.distance_transform_edt(~brain, sampling=spacing)
    middle = np.nonzero(brain)[2].mean()
    x = np.abs(np.arange(values.shape[2]) - middle)[None, None, :] * spacing[2]
    z = np.arange(values.shape[0])[:, None, None]
    upper = z > np.nonzero(brain)[0].mean()
    texture = np.random.default_rng(3).standard_normal(values.shape)
    vessels = ndimage.gaussian_filter(texture, 2.0) > 0.12
    shell = ~brain & (away < 6.0)
    bright = (shell & upper & (x < 6.0)) | (shell & vessels & (away < 3.0))
    return np.where(bright, 3.0 * np.median(values[brain]), values)


Change = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def phantom_with(tumor: Tumor, folder: Path) -> Patient:
    def change(draw: PhantomParameters) -> PhantomParameters:
        return replace(draw, tumor=tumor)

    settings = PhantomSettings(resolution_mm=2.0, workers=1)
    manifest = make_cohort(site_named("severance"), 1, 8, folder, settings, change=change)
    return read_manifest(manifest)[0]


def kept_of(patient: Patient, change: Change | None = None) -> tuple[float, float]:
    """Dice of the brain mask with the true brain, and the share of the true tumour in it."""
    t1c = sitk.DICOMOrient(sitk.ReadImage(str(patient.t1c), sitk.sitkFloat32), "LPS")
    grid = Grid.of(t1c)
    brain = sitk.GetArrayFromImage(sitk.DICOMOrient(brain_of(patient), "LPS")) > 0
    drawn = sitk.DICOMOrient(sitk.ReadImage(str(patient.tumor_mask)), "LPS")
    tumor = sitk.GetArrayFromImage(drawn) > 0
    if change is not None:
        values = sitk.GetArrayFromImage(t1c)
        spacing = np.array(grid.spacing)[::-1]
        t1c = grid.image(change(values, brain, spacing).astype(np.float32))
    mask = extract_brain(t1c, BrainSettings()).mask
    found = sitk.GetArrayFromImage(resample_to(mask, grid, nearest=True)) > 0
    return overlap(found, brain), float((found & tumor).sum() / tumor.sum())


@pytest.mark.parametrize("name", TUMORS)
def test_a_tumour_that_looks_unlike_brain_stays_in_the_mask(name: str, tmp_path: Path) -> None:
    brain, tumor = kept_of(phantom_with(TUMORS[name], tmp_path))
    assert brain > 0.94
    assert tumor > 0.95


@pytest.mark.parametrize("change", [surface_coil, filled_sinuses])
def test_brightness_outside_the_brain_costs_no_tumour(change: Change, tmp_path: Path) -> None:
    brain, tumor = kept_of(phantom_with(GLIOBLASTOMA, tmp_path), change)
    assert brain > 0.94
    assert tumor > 0.95
