"""Answers of the comparators for every patient, each by a model that was not fitted on him."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from components.classify.comparators.age import AgeModel
from components.classify.comparators.forest import Forest
from components.classify.inference.calibrated import (
    may_ask,
)
from components.classify.predictions import Answers

if TYPE_CHECKING:
    from components.classify.training.outputs import ClassifierRun


def forest_answers(run: ClassifierRun, forests: list[Forest]) -> Answers:
    everyone = np.full((len(forests), len(run.samples.patient_ids)), np.nan)
    for member, forest in zip(run.members, forests, strict=True):
        rows = may_ask(member, run.samples)
        everyone[member.index, rows] = forest.predict(run.samples.features[rows])
    return _mean_answers(everyone)


def age_answers(run: ClassifierRun, ages: list[AgeModel]) -> Answers:
    """Age is answered without a tumour, too."""
    table = run.samples
    everyone = np.full((len(ages), len(table.patient_ids)), np.nan)
    for member, model in zip(run.members, ages, strict=True):
        rows = may_ask(member, table, unusable=True)
        everyone[member.index, rows] = model.predict(table.age[rows])
    return _mean_answers(everyone)


def _mean_answers(everyone: np.ndarray) -> Answers:
    """Mean over the members [members, n] that answered; NaN where none did."""
    known = np.isfinite(everyone)
    total = np.where(known, everyone, 0.0).sum(axis=0)
    return Answers(np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan))
