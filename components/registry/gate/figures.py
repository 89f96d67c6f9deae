"""Figures that the gate's rules compare: paired differences, accuracy by subgroup."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from components.core.vocabulary import Model
from components.evaluate.statistics.delong import paired_delong
from components.evaluate.statistics.paired_tests import exact_binomial
from components.registry.gate.evidence import Scores

if TYPE_CHECKING:
    import pandas as pd


SMALLEST_CLASS = 2
"""Patients of each class from which on DeLong's variance, and so a comparison, exists."""

AGE_GROUPS = ((0.0, 45.0, "under 45"), (45.0, 60.0, "45 to 59"), (60.0, 200.0, "60 and over"))
"""Years; IDH mutation gets rare with age, so that a model may lean on it."""


def _accuracy_by(answers: Scores, attribute: str, smallest: int) -> dict[str, tuple[int, int]]:
    """Group -> (correct, patients) of each group of `smallest` patients or more."""
    if attribute == "age_group":
        groups = answers.table["age"].map(_age_group) if "age" in answers.table else None
    else:
        groups = answers.table.get(attribute)
    if groups is None:
        return {}
    names = groups.dropna().astype(str)
    return {
        str(group): (
            int(answers.correct[(groups.astype(str) == group).to_numpy()].sum()),
            int(count),
        )
        for group, count in names.value_counts().sort_index().items()
        if count >= smallest
    }


def _age_group(age: float) -> str | None:
    return next((name for low, high, name in AGE_GROUPS if low <= age < high), None)


def _paired(
    first: pd.DataFrame, second: pd.DataFrame, name: str | None, model: Model, other: Model
) -> tuple[Scores, Scores] | None:
    """Answers of two models for the same patients, in the same order.

    `name` None takes every test set. None where a class has fewer than SMALLEST_CLASS patients.
    """
    tables = []
    for table, which in ((first, model), (second, other)):
        rows = table[table["model"] == which.value].dropna(subset=["idh", "probability"])
        rows = rows if name is None else rows[rows["set"] == name]
        tables.append(rows.drop_duplicates("patient_id").set_index("patient_id"))
    shared = sorted(set(tables[0].index) & set(tables[1].index))
    ours, theirs = (Scores(table.loc[shared].reset_index()) for table in tables)
    mutants = int(ours.idh.sum())
    return (ours, theirs) if min(mutants, len(shared) - mutants) >= SMALLEST_CLASS else None


def _against(ours: Scores, theirs: Scores, confidence: float = 0.95) -> dict[str, float]:
    """Paired comparison: AUROC difference with its DeLong interval, and the exact binomial test."""
    test = paired_delong(ours.idh, ours.probability, theirs.probability, confidence)
    rate = float(theirs.correct.mean())
    return {
        "patients": len(ours.idh),
        "auroc": test.first,
        "other_auroc": test.second,
        "difference": test.difference,
        "low": test.low,
        "high": test.high,
        # Equal rankings have no P; they are no evidence of a difference.
        "delong_p": 1.0 if math.isnan(test.p) else test.p,
        "accuracy": float(np.mean(ours.correct)),
        "other_accuracy": rate,
        "binomial_p": exact_binomial(int(ours.correct.sum()), len(ours.correct), rate),
    }
