"""Sequences that lie far apart are brought together, every one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from components.cohort.manifest import read_manifest
from components.cohort.phantom.dataset import make_cohort
from components.cohort.phantom.parameters import moved_within
from components.cohort.phantom.settings import PhantomSettings
from components.cohort.phantom.sites import site_named
from components.preprocess.bench.measures import displacement
from components.preprocess.bench.patient import truth_beside
from components.preprocess.plan import make_plan
from components.preprocess.registration.resampling import as_transform
from components.preprocess.registration.space import find_space, locate_in_mni
from components.preprocess.registration.template import load_template
from components.preprocess.sequences import input_digests, read_patient
from components.preprocess.stage_cache import Clock
from pipelines.profile import load_profile


@pytest.mark.slow
def test_far_and_turned_sequences_come_back(tmp_path: Path) -> None:
    """14 patients of the far site, T2 and FLAIR of 5 mm moved by up to 15 degrees and 20 mm.

    Two of these T2 images once ended more than 50 mm away.
    """
    site, settings = site_named("tcia"), PhantomSettings(resolution_mm=1.0)
    manifest = make_cohort(
        site, 14, 78, tmp_path, settings, workers=2, change=moved_within(15.0, 20.0)
    )
    plan = make_plan(load_profile("paper").preprocess)
    errors = []
    for patient in read_manifest(manifest):
        truth, images = truth_beside(patient), read_patient(patient, plan.sequences)
        files = input_digests(patient, plan.sequences)
        space = find_space(images, plan, Clock(), files=files, cache=None)
        errors += [
            displacement(found.matrix, truth.motions[sequence.value], truth.brain)
            for sequence, found in space.aligned.items()
        ]
    assert len(errors) == 28
    assert np.median(errors) < 0.5 and np.max(errors) < 1.5


@pytest.mark.real_data
def test_the_template_lies_where_another_method_finds_the_brain(data_dir: Path) -> None:
    """The raw patient's MNI152 alignment, against the brain mask of HD-BET (Dice 0.94).

    A rim of skull and fluid around the stripped brain once blew the template up by a tenth: 0.90.
    """
    folder = data_dir / "tcga-fg-6692"
    t1c = sitk.DICOMOrient(sitk.ReadImage(str(folder / "t1c.nii.gz"), sitk.sitkFloat32), "LPS")
    theirs = sitk.DICOMOrient(sitk.ReadImage(str(folder / "brain_mask_hdbet_t1c.nii.gz")), "LPS")
    to_mni = locate_in_mni(t1c, make_plan(load_profile("paper").preprocess))
    mapped = sitk.Resample(
        load_template().mask, theirs, as_transform(to_mni), sitk.sitkNearestNeighbor
    )
    found, true = (sitk.GetArrayFromImage(mask) > 0 for mask in (mapped, theirs))
    assert 2.0 * (found & true).sum() / (found.sum() + true.sum()) > 0.93
