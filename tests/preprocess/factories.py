"""Phantom patients with known truth, whole or spoiled."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from components.cohort.manifest import Patient, read_manifest
from components.cohort.phantom.dataset import make_cohort
from components.cohort.phantom.settings import PhantomSettings
from components.cohort.phantom.sites import site_named
from components.core.imaging.grid import Grid
from components.core.vocabulary import Sequence
from components.preprocess.plan import PreprocessingPlan, make_plan
from components.preprocess.settings import PreprocessSettings

SEQUENCES = (Sequence.T1C, Sequence.FLAIR)


def small_plan(**changes: object) -> PreprocessingPlan:
    """T1C and FLAIR at 32 voxels a side: seconds a patient."""
    settings = {"sequences": SEQUENCES, "grid": 32, "working_mm": 2.0, **changes}
    return make_plan(PreprocessSettings.model_validate(settings))


def phantoms(
    folder: Path, patients: int, *, site: str = "severance", seed: int = 3
) -> list[Patient]:
    """Patients of one site, drawn on 2-mm maps."""
    settings = PhantomSettings(resolution_mm=2.0, workers=1)
    return read_manifest(make_cohort(site_named(site), patients, seed, folder, settings))


def truth_of(patient: Patient) -> dict[str, np.ndarray]:
    """4x4 matrix T1C-space LPS mm -> that sequence's LPS mm, by sequence."""
    content = json.loads((Path(str(patient.t1c)).parent / "truth.json").read_text())
    return {name: np.array(matrix) for name, matrix in content["motions"].items()}


def brain_of(patient: Patient) -> sitk.Image:
    """The true brain, on the T1C's grid."""
    return sitk.ReadImage(str(Path(str(patient.t1c)).parent / "brain_mask.nii.gz"))


def changed(
    patient: Patient, folder: Path, **changes: Callable[[sitk.Image], sitk.Image]
) -> Patient:
    """A copy of a patient whose named images went through a function."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for column, change in changes.items():
        target = folder / f"{column}.nii.gz"
        sitk.WriteImage(change(sitk.ReadImage(str(getattr(patient, column)))), str(target))
        paths[column] = str(target)
    return replace(patient, **paths)


def displacement(found: np.ndarray, true: np.ndarray, brain: sitk.Image) -> float:
    """Mean distance in mm between where two matrices send the brain's voxels."""
    grid = Grid.of(brain)
    voxels = np.argwhere(sitk.GetArrayViewFromImage(brain) > 0)[::97, ::-1]
    points = np.c_[voxels, np.ones(len(voxels))] @ grid.affine.T
    return float(np.linalg.norm((points @ (found - true).T)[:, :3], axis=1).mean())


def overlap(one: np.ndarray, two: np.ndarray) -> float:
    """Dice of two bool arrays."""
    return 2.0 * float((one & two).sum()) / float(one.sum() + two.sum())
