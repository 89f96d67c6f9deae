"""Curves of a few patients, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluate.statistics import curves

IDH = np.array([1, 0, 1, 0])
P = np.array([0.9, 0.8, 0.6, 0.1])


def test_roc_steps_through_the_patients() -> None:
    found = curves.roc_curve(IDH, P)
    assert found["fpr"] == [0.0, 0.0, 0.5, 0.5, 1.0]
    assert found["tpr"] == [0.0, 0.5, 0.5, 1.0, 1.0]
    assert found["threshold"] == pytest.approx([1.9, 0.9, 0.8, 0.6, 0.1])
    assert curves.roc_curve(np.ones(4, int), P) == {"fpr": [], "tpr": [], "threshold": []}


def test_precision_at_each_recall() -> None:
    found = curves.pr_curve(IDH, P)
    assert found["recall"] == [0.0, 0.5, 0.5, 1.0, 1.0]
    assert found["precision"] == pytest.approx([1.0, 1.0, 0.5, 2 / 3, 0.5])


def test_calibration_has_a_point_for_each_occupied_bin() -> None:
    low, high = curves.calibration_curve(IDH, P, bins=2, confidence=0.95)
    assert (low["patients"], low["predicted"], low["observed"]) == (1, 0.1, 0.0)
    assert (high["patients"], high["observed"]) == (3, 2 / 3)
    assert high["predicted"] == pytest.approx(2.3 / 3)
    assert high["low"] < high["observed"] < high["high"]


def test_net_benefit_at_one_half() -> None:
    found = curves.decision_curve(IDH, P)
    middle = found["threshold"].index(0.5)
    assert found["model"][middle] == pytest.approx((2 - 1) / 4)
    assert found["everybody"][middle] == pytest.approx(0.0)


def test_errors_among_the_most_certain_patients() -> None:
    right, uncertainty = np.array([True, False, True, True]), np.array([0.1, 0.4, 0.2, 0.2])
    found = curves.risk_coverage_curve(right, uncertainty, P)
    # Patients 2 and 3 are equally certain, and enter together.
    assert found["coverage"] == [0.25, 0.75, 1.0]
    assert found["risk"] == [0.0, 0.0, 0.25]
    assert found["area"] == pytest.approx(0.25 * 0.25)
    assert curves.risk_coverage_curve(right, None, P)["by"] == "distance from 0 or 1"


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    rng = np.random.default_rng(0)
    idh, p = rng.integers(0, 2, 2000), rng.random(2000)
    found = curves.roc_curve(idh, p)
    assert len(found["fpr"]) == curves.MAX_POINTS
    assert (found["fpr"][0], found["tpr"][0]) == (0.0, 0.0)
    assert (found["fpr"][-1], found["tpr"][-1]) == (1.0, 1.0)
