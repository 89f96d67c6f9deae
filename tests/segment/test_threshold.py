"""The threshold chosen on held-out cases, by cases whose best threshold is known."""

from __future__ import annotations

import numpy as np
import pytest

from components.segment.evaluation.threshold import (
    HeldOut,
    best_threshold,
    cross_fitted_thresholds,
    evaluate_members,
)
from components.segment.inference.mask import THRESHOLDS, MaskRule
from tests.factories import make_prepared_case

CASES = [make_prepared_case(seed, voxels=16, working_voxels=16) for seed in range(2)]


def _held_out(member: int, inside: float, outside: float = 0.0) -> HeldOut:
    """A prediction of `inside` in the tumour and `outside` elsewhere: network = working grid."""
    case = CASES[member]
    return HeldOut(member, case, np.where(case.tumor_working, inside, outside).astype(np.float16))


def test_of_equal_thresholds_the_one_nearest_one_half_is_taken() -> None:
    assert best_threshold([np.ones(len(THRESHOLDS))]) == 0.5
    curve = np.where(np.array(THRESHOLDS) >= 0.8, 0.9, 0.1)
    assert best_threshold([curve]) == 0.8


def test_the_curve_is_the_dice_at_every_threshold() -> None:
    one = _held_out(0, inside=0.7, outside=0.3)
    truth = CASES[0].tumor_working
    everything = 2 * truth.sum() / (truth.size + truth.sum())
    for threshold, value in zip(THRESHOLDS, one.curve, strict=True):
        expected = everything if threshold <= 0.3 else 1.0 if threshold <= 0.7 else 0.0
        assert value == pytest.approx(expected), threshold


def test_each_member_is_reported_at_the_threshold_of_the_others() -> None:
    # Member 0 needs a threshold of at most 0.2, member 1 one above 0.7.
    faint, loud = _held_out(0, inside=0.22), _held_out(1, inside=0.99, outside=0.72)
    found = cross_fitted_thresholds([faint, loud], doubt=0.0)
    assert found[1] <= 0.2
    assert found[0] > 0.72
    alone = cross_fitted_thresholds([faint], doubt=0.0)
    assert alone == {0: best_threshold([faint.curve])}


def test_a_perfect_prediction_has_the_true_volume() -> None:
    row = evaluate_members(_held_out(1, inside=1.0), MaskRule(0.5, min_ml=0.0))
    assert (row.dice, row.hd95_mm, row.member) == (1.0, 0.0, 1)
    assert row.predicted_ml == row.true_ml > 0
