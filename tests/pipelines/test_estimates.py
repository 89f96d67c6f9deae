"""What a run takes: operations counted exactly, and figures that follow the profile."""

from __future__ import annotations

import pytest

from pipelines.estimates import _classifier_operations, _segmenter_operations, estimates
from pipelines.profile import load_profile


def test_operations_are_those_of_the_papers_networks() -> None:
    profile = load_profile("paper")
    patch, whole = _segmenter_operations(profile)
    assert patch == whole == pytest.approx(0.787e12, rel=0.01)
    assert _classifier_operations(profile) == pytest.approx(0.0093e12, rel=0.05)


def test_twice_the_steps_take_twice_the_time() -> None:
    profile = load_profile("demo")
    longer = profile.segment.model_copy(update={"steps": 2 * 320, "evaluate_every": 0})
    once = {e.step: e.minutes for e in estimates(profile, 88, 40)}
    twice = {
        e.step: e.minutes for e in estimates(profile.model_copy(update={"segment": longer}), 88, 40)
    }
    assert once["segment"] is not None and twice["segment"] is not None
    assert 1.5 < twice["segment"] / once["segment"] <= 2.0
    assert {step for step in once if once[step] != twice[step]} == {"segment"}


def test_patients_of_other_cohorts_are_prepared_but_not_learnt_from() -> None:
    profile = load_profile("demo")
    few = {e.step: e.minutes or 0.0 for e in estimates(profile, 88, 0)}
    more = {e.step: e.minutes or 0.0 for e in estimates(profile, 88, 40)}
    grown = {step for step in few if more[step] > few[step]}
    assert grown == {"validate", "preprocess", "features"}
