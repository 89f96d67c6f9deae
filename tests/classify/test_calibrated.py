"""Calibrated predictions of raw outputs whose calibration is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.classify.data.samples import Samples, plan_classifier_members, read_samples
from components.classify.inference.calibrated import (
    NetworkOutputs,
    calibrate,
    mean_of_known,
    predictable,
)
from components.classify.settings import CalibrationKind, ClassifySettings
from tests.classify.factories import make_samples


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    rows = {"p024": {"status": "no_tumor"}}
    folder: Path = tmp_path_factory.mktemp("s") / "s"
    return read_samples(make_samples(folder, 24, folds=2, external=6, rows=rows))


def test_the_mean_leaves_out_members_that_have_learnt_from_a_patient() -> None:
    nan = np.nan
    found = mean_of_known(np.array([[1.0, nan, nan], [3.0, 5.0, nan]]))
    np.testing.assert_array_equal(found, [2.0, 5.0, nan])


def test_development_patients_are_predicted_by_one_member_and_others_by_all(
    samples: Samples,
) -> None:
    members = plan_classifier_members(samples, 8)
    who = np.stack([predictable(member, samples) for member in members])
    development = samples.development & samples.usable
    assert (who[:, development].sum(axis=0) == 1).all()
    assert who[:, ~samples.development & samples.usable].all()
    assert not who[:, ~samples.usable].any()
    anyone = np.stack([predictable(member, samples, unusable=True) for member in members])
    assert anyone[:, ~samples.usable].any()
    for member, own in zip(members, who, strict=True):
        assert not own[member.training].any()


def test_without_calibration_probabilities_are_the_sigmoid_of_the_margins(
    samples: Samples,
) -> None:
    members = plan_classifier_members(samples, 8)
    outputs = NetworkOutputs.empty(len(members), len(samples.patient_ids), 1, samples.slices)
    for member in members:
        outputs.margins[member.index, predictable(member, samples)] = 2.0 * member.index - 1.0
    settings = ClassifySettings(calibration=CalibrationKind.NONE, coverage=1.0)
    found = calibrate(outputs, samples, members, settings)
    low, high = 1 / (1 + np.exp(1.0)), 1 / (1 + np.exp(-1.0))
    for member, expected in zip(members, (low, high), strict=True):
        np.testing.assert_allclose(found.predictions.probability[member.held_out], expected)
    external = ~samples.development & samples.usable
    np.testing.assert_allclose(found.predictions.probability[external], (low + high) / 2)
    assert np.isnan(found.predictions.probability[~samples.usable]).all()
    assert (found.predictions.ood, found.ood_scale) == (None, 1.0)
    assert not found.predictions.abstained[samples.development].any()
