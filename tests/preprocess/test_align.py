"""Sequences that lie far apart are brought together, every one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.cohort.manifest import read_manifest
from components.cohort.phantom.cohort import make_cohort
from components.cohort.phantom.draw import moved_within
from components.cohort.phantom.settings import PhantomSettings
from components.cohort.phantom.sites import site_named
from components.preprocess.bench import displacement, truth_beside
from components.preprocess.plan import make_plan
from components.preprocess.sequences import input_digests, read_patient
from components.preprocess.space import find_space
from components.preprocess.stages import Clock
from pipelines.profile import load_profile


@pytest.mark.slow
def test_far_and_turned_sequences_come_back(tmp_path: Path) -> None:
    """14 patients of the far site, T2 and FLAIR of 5 mm moved by up to 15 degrees and 20 mm.

    Two of these T2 images once ended more than 50 mm away.
    """
    site, settings = site_named("tcia"), PhantomSettings(resolution_mm=1.0)
    manifest = make_cohort(
        site, 14, 78, tmp_path, settings, workers=2, dial=moved_within(15.0, 20.0)
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
