"""Gaps between subgroups: their parts add up, and each reason is told from the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from components.evaluate.read_tables import predictions_of
from components.evaluate.settings import EvaluateSettings
from components.evaluate.subgroups.figures import subgroup_block
from components.evaluate.subgroups.gaps import detectable_gap, gap_by_chance

SETTINGS = EvaluateSettings(iterations=100)


def _sexes(
    patients: int,
    *,
    share: tuple[float, float] = (0.5, 0.5),
    shift: tuple[float, float] = (0.0, 0.0),
    skill: tuple[float, float] = (2.0, 2.0),
    bias: float = 0.0,
) -> dict[str, Any]:
    """Reasons of the gap in accuracy between men and women, scores normal in each class.

    Args:
        share: of mutants.
        shift: of every score of a sex: the threshold no longer fits.
        skill: distance of the classes in SDs.
        bias: of every score of both: one class is called better than the other.
    """
    random, rows = np.random.default_rng(5), []
    for sex, mutants, move, apart in zip("MF", share, shift, skill, strict=True):
        idh = (np.arange(patients) < mutants * patients).astype(int)
        score = random.normal((idh - 0.5) * apart + move + bias, 1.0)
        rows += [
            {"patient_id": f"{sex}{k}", "idh": y, "probability": 1 / (1 + np.exp(-s)), "sex": sex}
            for k, (y, s) in enumerate(zip(idh, score, strict=True))
        ]
    table = pd.DataFrame(rows).assign(status="ok", slice=np.nan)
    block = subgroup_block(predictions_of(table), table.set_index("patient_id"), SETTINGS)
    (gap,) = (one for one in block["gaps"] if one["measure"] == "accuracy")
    reasons = gap["reasons"]
    parts = reasons["prevalence"] + reasons["sensitivity"] + reasons["specificity"]
    assert parts == pytest.approx(gap["gap"]["value"], abs=1e-12)
    return dict(reasons)


def test_equal_groups_differ_by_chance() -> None:
    assert _sexes(40)["reading"] == "chance alone could explain it"


def test_a_class_that_is_called_better_and_more_frequent_is_prevalence() -> None:
    found = _sexes(400, share=(0.8, 0.2), bias=1.0)
    assert found["p"] < 0.05
    assert found["reading"].startswith("mostly prevalence")


def test_a_shifted_score_is_the_threshold_and_leaves_the_ranking() -> None:
    found = _sexes(400, shift=(0.0, 1.5))
    assert found["auroc"]["p"] > 0.05
    assert "threshold" in found["reading"]


def test_less_skill_in_one_group_is_the_ranking() -> None:
    found = _sexes(400, skill=(3.0, 1.0))
    assert found["auroc"]["p"] < 0.001
    assert found["reading"].startswith("the ranking differs")


def test_the_detectable_gap_is_found_four_times_in_five() -> None:
    """200 a group at 0.7 on average: Fisher's test is somewhat stricter than the formula."""
    gap = detectable_gap((140, 200), (140, 200), 0.05)
    assert gap == pytest.approx(0.1284, abs=1e-4)
    random = np.random.default_rng(2)
    one, two = random.binomial(200, [[0.7 + gap / 2], [0.7 - gap / 2]], (2, 1000))
    tables = ([[a, 200 - a], [b, 200 - b]] for a, b in zip(one, two, strict=True))
    power = np.mean([fisher_exact(table).pvalue < 0.05 for table in tables])
    assert 0.7 < power < 0.85


def test_small_groups_say_little() -> None:
    assert gap_by_chance((9, 10), (6, 10)) > 0.2
    assert detectable_gap((9, 10), (6, 10), 0.05) > 0.5
