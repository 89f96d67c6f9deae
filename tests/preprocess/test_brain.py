"""Brain masks: against the phantom's truth, on heads whose headers lie, and against HD-BET."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from threadpoolctl import threadpool_limits

from components.cohort.manifest import Patient, read_manifest
from components.core.errors import BadInput
from components.core.imaging.grid import Grid
from components.preprocess.brain import deepbet
from components.preprocess.brain.extraction import extract_brain
from components.preprocess.registration.resampling import one_thread, resample_to
from components.preprocess.settings import BrainBackend, BrainSettings
from tests.preprocess.factories import brain_of, overlap, phantoms


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
    assert found.backend is BrainBackend.DEEPBET
    assert overlap_on(true, found.mask) > 0.95


@pytest.mark.parametrize("background", ["zero", "constant", "ripples", "z-scores"])
def test_a_stripped_image_keeps_its_brain_whatever_its_background(
    patient: Patient, background: str
) -> None:
    t1c = sitk.DICOMOrient(sitk.ReadImage(str(patient.t1c), sitk.sitkFloat32), "LPS")
    true = sitk.DICOMOrient(brain_of(patient), "LPS")
    values = sitk.GetArrayFromImage(t1c)
    inside = sitk.GetArrayFromImage(true) > 0
    rng = np.random.default_rng(2)
    outside = {
        "zero": np.zeros(values.shape),
        "constant": np.full(values.shape, -1000.0),
        "ripples": rng.normal(0.0, 0.002 * values.max(), values.shape),
        "z-scores": np.zeros(values.shape),
    }[background]
    if background == "z-scores":
        values = (values - values[inside].mean()) / values[inside].std()
    stripped = Grid.of(t1c).image(np.where(inside, values, outside).astype(np.float32))
    found = extract_brain(stripped, BrainSettings())
    assert found.backend is BrainBackend.GIVEN
    assert overlap_on(true, found.mask) > 0.97


def test_a_network_that_is_not_the_pinned_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "models"
    folder.mkdir(parents=True)
    (folder / "model.pt").write_bytes(b"another network")
    monkeypatch.setattr(deepbet, "package_file", lambda *_: tmp_path / "deepbet" / "__init__.py")
    with pytest.raises(BadInput) as refused:
        deepbet._verified("model.pt", deepbet.NETWORK.brain_sha256)
    assert refused.value.subject == str(folder / "model.pt")


@pytest.mark.slow
@pytest.mark.parametrize("site", ["severance", "snuh", "tcia"])
def test_phantoms_of_every_site_keep_their_brain(site: str, tmp_path: Path) -> None:
    overlaps = []
    for phantom in phantoms(tmp_path, 8, site=site, seed=11):
        t1c = sitk.DICOMOrient(sitk.ReadImage(str(phantom.t1c), sitk.sitkFloat32), "LPS")
        true = sitk.DICOMOrient(brain_of(phantom), "LPS")
        overlaps.append(overlap_on(true, extract_brain(t1c, BrainSettings()).mask))
    assert np.median(overlaps) > 0.95
    assert min(overlaps) > 0.93


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
    assert overlap_on(theirs, extract_brain(t1c, BrainSettings()).mask) > 0.965


@pytest.mark.slow
@pytest.mark.real_data
def test_the_manual_tumours_of_open_heads_lie_in_their_brains(data_dir: Path) -> None:
    kept, volumes = [], []
    for patient in read_manifest(data_dir / "tcga-lgg" / "manifest.csv"):
        if not patient.t1c:
            continue
        t1c = sitk.DICOMOrient(sitk.ReadImage(str(patient.t1c), sitk.sitkFloat32), "LPS")
        drawn = sitk.ReadImage(str(patient.tumor_mask), sitk.sitkFloat32)
        tumor = sitk.GetArrayFromImage(resample_to(drawn, Grid.of(t1c), nearest=True)) > 0.5
        mask = extract_brain(t1c, BrainSettings()).mask
        brain = sitk.GetArrayFromImage(resample_to(mask, Grid.of(t1c), nearest=True)) > 0
        kept.append((brain & tumor).sum() / tumor.sum())
        volumes.append(brain.sum() * Grid.of(t1c).voxel_ml)
    assert len(kept) == 54
    assert min(kept) > 0.90
    assert np.mean(kept) > 0.98
    assert min(volumes) > 1000
    assert max(volumes) < 1800
