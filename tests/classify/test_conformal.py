"""Conformal sets: ranks by hand, coverage in repeated draws, and levels that cannot be carried."""

from __future__ import annotations

import numpy as np
import pytest

from components.classify.inference.conformal import ConformalCalibration, IdhSet, check_level
from components.core.errors import BadInput
from components.core.vocabulary import Idh

MUTANTS, WILDTYPES = np.arange(1, 10) / 10, np.arange(1, 10) / 20
"""0.1 to 0.9, and 0.05 to 0.45."""


def calibrated(level: float) -> ConformalCalibration:
    probability = np.concatenate([MUTANTS, WILDTYPES])
    return ConformalCalibration.of(level, probability, np.repeat([1, 0], 9))


def test_thresholds_are_order_statistics_of_each_class() -> None:
    # Rank ceil(10 * 0.8) = 8: the eighth mutant from above, the eighth wildtype from below.
    found = calibrated(0.8)
    assert (found.mutant_from, found.wildtype_to) == (pytest.approx(0.2), pytest.approx(0.4))
    probabilities = (0.1, 0.2, 0.4, 0.41)
    sets = [found.idh_set(p) for p in probabilities]
    assert sets == [IdhSet.WILDTYPE, IdhSet.BOTH, IdhSet.BOTH, IdhSet.MUTANT]


def test_a_low_level_leaves_a_gap_in_which_nothing_fits() -> None:
    found = calibrated(0.2)
    assert found.idh_set(0.5) is IdhSet.NONE
    assert IdhSet.NONE.members == ()


def test_nine_patients_of_a_class_carry_exactly_nine_tenths() -> None:
    found = calibrated(0.9)
    assert (found.mutant_from, found.wildtype_to) == (pytest.approx(0.1), pytest.approx(0.45))
    with pytest.raises(BadInput, match=r"9 held-out wildtype patients carry 0\.9 at most"):
        calibrated(0.91)


@pytest.mark.parametrize(("level", "carried"), [(0.9, True), (0.916, True), (0.95, False)])
def test_eleven_wildtypes_carry_nine_tenths_but_not_nineteen_twentieths(
    level: float, carried: bool
) -> None:
    counts = {Idh.MUTANT: 41, Idh.WILDTYPE: 11}
    if carried:
        check_level(level, counts)
        return
    with pytest.raises(BadInput, match=r"carry 0\.916 at most") as refused:
        check_level(level, counts)
    assert "hold out 19 patients of each class" in str(refused.value)


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_each_class_is_covered_however_rare_and_however_bad_the_classifier(level: float) -> None:
    """Mean coverage over draws is k / (n + 1); bounds are five standard errors of 4,000 draws."""
    random = np.random.default_rng(3)
    for status, mean in ((1, 0.3), (0, 0.2)):
        hits = 0
        for _ in range(4000):
            idh = np.repeat([1, 0], [40, 11])
            scores = random.normal(np.where(idh == 1, 0.3, 0.2), 0.3)
            new = random.normal(mean, 0.3)
            found = ConformalCalibration.of(level, scores, idh).idh_set(new)
            hits += Idh(status) in found.members
        n = 40 if status else 11
        expected = np.ceil((n + 1) * level - 1e-9) / (n + 1)
        assert abs(hits / 4000 - expected) < 5 * np.sqrt(expected * (1 - expected) / 4000)
        assert expected >= level


def test_it_survives_json_unchanged() -> None:
    found = calibrated(0.8)
    assert ConformalCalibration.model_validate_json(found.model_dump_json()) == found
