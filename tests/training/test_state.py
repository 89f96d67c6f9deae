"""Best score and early stop."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from components.training.state import TrainingState


def _after(scores: list[float], patience: int) -> tuple[TrainingState, list[bool]]:
    state = TrainingState()
    return state, [state.record(score, patience) for score in scores]


@pytest.mark.parametrize(("patience", "finished"), [(0, False), (1, True), (2, True), (3, False)])
def test_it_stops_after_as_many_scores_without_a_better_one(patience: int, finished: bool) -> None:
    state, best = _after([0.2, 0.5, 0.5, 0.4], patience)
    assert best == [True, True, False, False]
    assert (state.best, state.stale, state.finished) == (0.5, 2, finished)


def test_a_better_score_begins_the_count_again() -> None:
    state, _ = _after([-0.7, -0.8, -0.6, -0.9], patience=2)
    assert (state.best, state.stale, state.finished) == (-0.6, 1, False)


def test_nan_is_never_the_best() -> None:
    state, best = _after([float("nan"), 0.1, float("nan")], patience=0)
    assert best == [False, True, False]
    assert state.best == 0.1


def test_it_survives_json() -> None:
    state, _ = _after([0.3, 0.2], patience=2)
    again = TrainingState(**asdict(state))
    assert again == state
    assert not again.record(0.1, 2)
    assert again.finished
