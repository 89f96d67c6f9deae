"""Brain masks: against the phantom's truth, on heads whose headers lie, and against HD-BET."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from components.preprocess.brain.edge import follow_edge
from threadpoolctl import threadpool_limits

from components.cohort.manifest import Patient
from components.core.imaging.grid import Grid
from components.preprocess.brain.extraction import extract_brain
from components.preprocess.registration.resampling import one_thread, resample_to
from components.preprocess.settings import BrainSettings
from tests.preprocess.factories import brain_of, overlap, phantoms


def ball(shape: tuple[int, int, int], centre: tuple[float, ...], radius: float) -> np.ndarray:
    """bool: voxels within `radius` voxels of `centre`."""
    apart = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return np.asarray((apart**2).sum(axis=0) < radius**2)


def overlap_on(true: sitk.Image, found: sitk.Image) -> float:
    """Dice of two masks on the grid of the second."""
    true = resample_to(true, Grid.of(found), nearest=True)
    return overlap(*(sitk.GetArrayFromImage(mask) > 0 for mask in (true, found)))


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Patient:
    return phantoms(tmp_path_factory.mktemp("phantom"), 1, seed=5)[0]


@pytest.mark.parametrize("height", [0.78, 1.0, 1.2])
def test_a_wrong_slice_spacing_costs_no_brain(patient: Patient, height: float) -> None:
    """Some archives hold heads a quarter too flat, because the spacing had to be guessed."""
    t1c = sitk.DICOMOrient(sitk.ReadImage(str(patient.t1c), sitk.sitkFloat32), "LPS")
    true = sitk.DICOMOrient(brain_of(patient), "LPS")
    for image in (t1c, true):
        x, y, z = image.GetSpacing()
        image.SetSpacing((x, y, z * height))
    found = extract_brain(t1c, BrainSettings())
    assert found.contrast > 0.9
    assert overlap_on(true, found.mask) > 0.95


@pytest.mark.parametrize(("across", "widened"), [(0, 0), (2, 0), (-2, 0), (0, 1), (0, -2)])
def test_the_edge_is_found_where_the_evidence_changes(across: int, widened: int) -> None:
    shape, middle = (48, 56, 52), (24.0, 28.0, 26.0)
    brain = ball(shape, middle, 16)
    orbit = ball(shape, (24.0, 28.0, 48.0), 3)
    bridge = np.zeros(shape, bool)
    bridge[24, 28, 40:48] = True
    rng = np.random.default_rng(1)
    evidence = np.where(brain | orbit | bridge, 1.5, -1.5) + rng.normal(0, 0.5, shape)
    rough = ball(shape, (24.0, 28.0, 26.0 + across), 16 + widened)
    found = follow_edge(evidence.astype(np.float32), rough, 2.0)
    assert overlap(found, brain) > 0.96
    assert overlap(found, brain) > overlap(rough, brain) or rough.sum() == brain.sum()
    assert not (found & orbit).any()


def test_a_mask_too_small_for_a_seed_is_left_as_it_is() -> None:
    rough = ball((20, 20, 20), (10.0, 10.0, 10.0), 2)
    found = follow_edge(np.zeros(rough.shape, np.float32), rough, 2.0)
    np.testing.assert_array_equal(found, rough)


def test_a_brain_that_the_field_of_view_cuts_keeps_its_lowest_slice() -> None:
    brain = ball((40, 56, 56), (5.0, 28.0, 28.0), 18)
    evidence = np.where(brain, 1.5, -1.5).astype(np.float32)
    found = follow_edge(evidence, brain, 2.0)
    assert overlap(found[0], brain[0]) > 0.97


def test_threads_do_not_change_the_mask(patient: Patient) -> None:
    t1c = sitk.DICOMOrient(sitk.ReadImage(str(patient.t1c), sitk.sitkFloat32), "LPS")
    masks = []
    for threads in (1, 2):
        with threadpool_limits(threads), one_thread():
            masks.append(sitk.GetArrayFromImage(extract_brain(t1c, BrainSettings()).mask))
    np.testing.assert_array_equal(*masks)


@pytest.mark.real_data
def test_the_raw_patient_s_brain_is_that_of_hd_bet(data_dir: Path) -> None:
    folder = data_dir / "tcga-fg-6692"
    t1c = sitk.DICOMOrient(sitk.ReadImage(str(folder / "t1c.nii.gz"), sitk.sitkFloat32), "LPS")
    theirs = sitk.DICOMOrient(sitk.ReadImage(str(folder / "brain_mask_hdbet_t1c.nii.gz")), "LPS")
    assert overlap_on(theirs, extract_brain(t1c, BrainSettings()).mask) > 0.94
