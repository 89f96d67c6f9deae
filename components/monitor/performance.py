"""Performance of the answers given: observed where labels came, expected where they did not."""

from __future__ import annotations

import numpy as np
import pandas as pd

from components.core.settings import Document
from components.evaluate.documents import CalibrationEntry
from components.evaluate.group_documents import ConformalCoverage, EstimateEntry
from components.evaluate.statistics import metrics
from components.evaluate.statistics.conformal import coverage_block
from components.evaluate.statistics.delong import delong
from components.evaluate.statistics.performance import recalibration, without_nan
from components.monitor.late_labels import Labelled

THRESHOLD = 0.5
"""A probability at or above it is called mutant."""

CONFIDENCE = 0.95

DRAWS = 2000
"""Sets of labels drawn from the probabilities."""

FEWEST = 30
"""Labelled answers below which nothing is concluded."""

P_ALARM = 0.01
"""P-value of an alarm, before it is divided by the number of groups."""

ASSUMPTIONS = (
    "Expected figures take the probabilities for calibrated on today's patients (CBPE): labels are"
    " drawn from them, and the interval is where the observed figure would lie. They do not see a"
    " change in what an image means for the mutation, only in who comes.",
    "Observed figures take labelled patients for like those without a label. Where only doubtful"
    " answers are tested, they are worse than all would be.",
    "Answers without a probability (no tumour, no brain) are left out of every figure.",
)


class Expected(Document):
    """What labels would show of answers whose probabilities are right."""

    accuracy: EstimateEntry
    auroc: EstimateEntry


class Observed(Document):
    """What labels show. `p`: that right probabilities give so low an accuracy or a lower one."""

    mutant: int
    accuracy: EstimateEntry
    auroc: EstimateEntry
    brier: float
    calibration: CalibrationEntry
    conformal: ConformalCoverage | None
    p: float


class GroupPerformance(Document):
    """The answers of one month, of one release, or all.

    Attributes:
        answers, answered, labelled: patients; those with a probability; those of them with a label.
    """

    group: str
    answers: int
    answered: int
    labelled: int
    expected: Expected | None
    observed: Observed | None


class Outcomes(Document):
    """Content of outcomes.json.

    Attributes:
        key: column by which labels were joined.
        repeated: answers that another of the same patient followed; the last one counts, of all and
            of its month; the last of each release, there.
        unused: labels without an answer, and contradictory ones.
        fell_short: groups of FEWEST labels or more whose answers are worse than their own
            probabilities say: P below P_ALARM over the number of groups (Bonferroni).
    """

    key: str
    repeated: int
    unused: int
    whole: GroupPerformance
    months: tuple[GroupPerformance, ...]
    releases: tuple[GroupPerformance, ...]
    fell_short: tuple[str, ...]
    assumptions: tuple[str, ...] = ASSUMPTIONS


def judge_outcomes(found: Labelled, seed: int = 0) -> Outcomes:
    """Everything that answers and labels say together."""
    table = found.answers.assign(month=found.answers["time"].astype("string").str[:7])
    last = table.drop_duplicates("name", keep="last")
    of_release = table.drop_duplicates(["name", "release"], keep="last")
    whole = _group("all", last, seed)
    months = _groups(last, "month", seed)
    releases = _groups(of_release, "release", seed)
    return Outcomes(
        key=found.key,
        repeated=len(table) - len(last),
        unused=len(found.unused),
        whole=whole,
        months=months,
        releases=releases,
        fell_short=_fell_short([whole, *months, *releases]),
    )


def _fell_short(groups: list[GroupPerformance]) -> tuple[str, ...]:
    return tuple(
        group.group
        for group in groups
        if group.labelled >= FEWEST and group.observed and group.observed.p < P_ALARM / len(groups)
    )


def _groups(table: pd.DataFrame, column: str, seed: int) -> tuple[GroupPerformance, ...]:
    return tuple(_group(str(name), rows, seed) for name, rows in table.groupby(column, sort=True))


def _group(name: str, rows: pd.DataFrame, seed: int) -> GroupPerformance:
    answered = rows[rows["probability"].notna()]
    labelled = answered[answered["idh"].notna()]
    return GroupPerformance(
        group=name,
        answers=len(rows),
        answered=len(answered),
        labelled=len(labelled),
        expected=_expected(answered["probability"].to_numpy(float), seed),
        observed=_observed(labelled, seed),
    )


def _expected(probability: np.ndarray, seed: int) -> Expected | None:
    if not len(probability):
        return None
    accuracy, auroc = drawn_figures(probability, seed)
    return Expected(accuracy=_spread(accuracy), auroc=_spread(auroc))


def drawn_figures(probability: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(accuracy, AUROC), each float [DRAWS], of labels drawn from probabilities [n].

    Confidence-based performance estimation; an AUROC is NaN where a draw holds one class.
    """
    _, cell = np.unique(-probability, return_inverse=True)
    sizes = np.bincount(cell)
    shares = -np.unique(-probability)
    # Patients of one probability are exchangeable: their mutants are binomial.
    mutants = np.random.default_rng(seed).binomial(sizes, shares, (DRAWS, len(sizes)))
    right = np.where(shares >= THRESHOLD, mutants, sizes - mutants).sum(axis=1)
    return right / len(probability), metrics.roc_area(mutants, sizes - mutants)


def _spread(draws: np.ndarray) -> EstimateEntry:
    known = draws[np.isfinite(draws)]
    if not len(known):
        return EstimateEntry(value=None, low=None, high=None)
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return EstimateEntry(value=float(known.mean()), low=float(low), high=float(high))


def _observed(rows: pd.DataFrame, seed: int) -> Observed | None:
    if rows.empty:
        return None
    idh, probability = rows["idh"].to_numpy(int), rows["probability"].to_numpy(float)
    right = int(((probability >= THRESHOLD) == (idh == 1)).sum())
    area = delong(idh, probability, CONFIDENCE)
    drawn, _ = drawn_figures(probability, seed)
    as_low = int((drawn <= right / len(idh) + 1e-12).sum())
    content = {
        "mutant": int(idh.sum()),
        "accuracy": metrics.proportion(right, len(idh), CONFIDENCE),
        "auroc": {"value": area.value, "low": area.low, "high": area.high},
        "brier": metrics.brier(idh, probability),
        "calibration": recalibration(idh, probability, CONFIDENCE),
        "conformal": coverage_block(rows, CONFIDENCE),
        "p": (as_low + 1) / (DRAWS + 1),
    }
    return Observed.model_validate(without_nan(content))
