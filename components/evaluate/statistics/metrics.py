"""Figures of merit of one model on one set of patients.

Truth is an int array [n] (1 mutant, 0 wildtype), prediction a float array [n], P(IDH mutant). The
areas come in two forms: of predictions, and of counts by cell of the ranking, where `positive` and
`negative` [..., k] hold how many mutants and wildtypes share each distinct score, highest first.
The second form is what the bootstrap resamples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

LOGIT_CLIP = 1e-6
"""Probabilities are kept this far from 0 and 1 where a logit is taken."""


def ranked_counts(idh: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(positive, negative) int [k]: mutants and wildtypes per distinct score, highest first."""
    _, cell = np.unique(-probability, return_inverse=True)
    cells = int(cell.max(initial=-1)) + 1
    positive = np.bincount(cell[idh == 1], minlength=cells)
    negative = np.bincount(cell[idh == 0], minlength=cells)
    return positive, negative


def roc_area(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Area under the ROC curve [...] of ranked counts [..., k]; ties count one half.

    The Mann-Whitney statistic, which is the trapezoid area. NaN where a class is absent.
    """
    below = negative.sum(axis=-1, keepdims=True) - np.cumsum(negative, axis=-1)
    won = (positive * (below + negative / 2.0)).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return won / (positive.sum(axis=-1) * negative.sum(axis=-1))


def pr_area(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve [...] of ranked counts [..., k], as PRROC defines it.

    Between two thresholds false positives grow in proportion to true positives (Davis and Goadrich
    2006), and precision is integrated over recall in closed form (Boyd, Eng and Page 2013;
    Keilwagen, Grosse and Grau 2014): PRROC's `auc.integral`. NaN without mutants; 1 without
    wildtypes.
    """
    called = np.cumsum(positive + negative, axis=-1).astype(float)
    before = called - positive - negative
    hits_before = np.cumsum(positive, axis=-1) - positive
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = 1.0 + negative / positive
        curved = (hits_before - before / slope) / slope * np.log(called / before)
        gain = positive / slope + np.where(before > 0, curved, 0.0)
        return np.where(positive > 0, gain, 0.0).sum(axis=-1) / positive.sum(axis=-1)


def precision_area(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Average precision [...] of ranked counts [..., k]: steps, no interpolation (scikit-learn)."""
    hits = np.cumsum(positive, axis=-1)
    called = np.cumsum(positive + negative, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = np.where(positive > 0, positive * (hits / called), 0.0)
        return gain.sum(axis=-1) / positive.sum(axis=-1)


def auroc(idh: np.ndarray, probability: np.ndarray) -> float:
    """Area under the ROC curve; NaN when only one class is present."""
    return float(roc_area(*ranked_counts(idh, probability)))


def auprc(idh: np.ndarray, probability: np.ndarray) -> float:
    """Area under the precision-recall curve by PRROC's definition (see `pr_area`)."""
    return float(pr_area(*ranked_counts(idh, probability)))


def average_precision(idh: np.ndarray, probability: np.ndarray) -> float:
    """Average precision, which other software often calls AUPRC."""
    return float(precision_area(*ranked_counts(idh, probability)))


@dataclass(frozen=True)
class Confusion:
    """Counts of calls against truth at one threshold; `mutant` is the positive class."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int

    @classmethod
    def at(cls, idh: np.ndarray, probability: np.ndarray, threshold: float) -> Confusion:
        """Counts when probability >= threshold is called mutant."""
        called = probability >= threshold
        return cls(
            int((called & (idh == 1)).sum()),
            int((called & (idh == 0)).sum()),
            int((~called & (idh == 0)).sum()),
            int((~called & (idh == 1)).sum()),
        )

    @property
    def proportions(self) -> dict[str, tuple[int, int]]:
        """Name -> (favourable, all) of every proportion that a 2 x 2 table gives."""
        tp, fp = self.true_positive, self.false_positive
        tn, fn = self.true_negative, self.false_negative
        return {
            "accuracy": (tp + tn, tp + fp + tn + fn),
            "sensitivity": (tp, tp + fn),
            "specificity": (tn, tn + fp),
            "ppv": (tp, tp + fp),
            "npv": (tn, tn + fn),
        }

    @property
    def balanced_accuracy(self) -> float:
        """Mean of sensitivity and specificity; NaN when a class is absent."""
        shares = self.proportions
        return (share(*shares["sensitivity"]) + share(*shares["specificity"])) / 2


def share(count: int, total: int) -> float:
    """A proportion; NaN of nothing."""
    return count / total if total else math.nan


@cache
def wilson(count: int, total: int, confidence: float) -> tuple[float, float]:
    """Wilson score interval of a proportion (R: prop.test without continuity correction)."""
    from scipy.stats import binomtest

    if total == 0:
        return math.nan, math.nan
    found = binomtest(count, total).proportion_ci(confidence, "wilson")
    return float(found.low), float(found.high)


def proportion(count: int, total: int, confidence: float) -> dict[str, float]:
    """{"value", "low", "high"} of a proportion with its Wilson interval; NaN without patients."""
    low, high = wilson(count, total, confidence)
    return {"value": share(count, total), "low": low, "high": high}


def brier(idh: np.ndarray, probability: np.ndarray) -> float:
    """Brier score: mean squared error of the probability."""
    return float(np.mean((probability - idh) ** 2)) if len(idh) else math.nan


def bin_of(probability: np.ndarray, bins: int) -> np.ndarray:
    """Index [n] of the equal-width bin of each probability; 1.0 belongs to the last."""
    return np.minimum((probability * bins).astype(int), bins - 1)


def expected_calibration_error(idh: np.ndarray, probability: np.ndarray, bins: int) -> float:
    """Mean |predicted - observed share of mutants| over equal-width bins, weighted by size."""
    if not len(idh):
        return math.nan
    surplus = np.bincount(bin_of(probability, bins), weights=probability - idh, minlength=bins)
    return float(np.abs(surplus).sum() / len(idh))


@dataclass(frozen=True)
class Calibration:
    """Logistic recalibration: log odds of the truth = intercept + slope * logit(probability).

    A slope under 1 means predictions too extreme. `in_the_large` is the intercept with the slope
    held at 1: above 0, mutants are more frequent than predicted. Errors are standard errors; NaN
    where the fit does not exist (one class, constant predictions, perfect separation).
    """

    slope: float
    slope_error: float
    intercept: float
    intercept_error: float
    in_the_large: float
    in_the_large_error: float


def calibration(
    idh: np.ndarray, probability: np.ndarray, patient: np.ndarray | None = None
) -> Calibration:
    """Fit the recalibration by maximum likelihood (R: glm(y ~ lp), glm(y ~ offset(lp))).

    Args:
        patient: int [n], 0-based patient of each prediction where a patient has several (slices):
            errors are then robust to their likeness (R: sandwich::vcovCL, type "HC0").
    """
    from scipy.special import logit

    score = logit(np.clip(probability.astype(float), LOGIT_CLIP, 1 - LOGIT_CLIP))
    joint = _fit_logistic(np.column_stack([np.ones_like(score), score]), idh, np.zeros_like(score),
                          patient)  # fmt: skip
    alone = _fit_logistic(np.ones((len(score), 1)), idh, score, patient)
    return Calibration(joint[1][0], joint[1][1], *joint[0], *alone[0])


def _fit_logistic(
    design: np.ndarray, truth: np.ndarray, offset: np.ndarray, patient: np.ndarray | None
) -> list[tuple[float, float]]:
    """(estimate, standard error) of each coefficient by Newton's method; NaN when it diverges."""
    from scipy.special import expit

    nothing = [(math.nan, math.nan)] * design.shape[1]
    if len(set(truth.tolist())) < 2 or np.linalg.matrix_rank(design) < design.shape[1]:
        return nothing
    beta = np.zeros(design.shape[1])
    for _ in range(100):
        mean = expit(design @ beta + offset)
        information = (design * (mean * (1 - mean))[:, None]).T @ design
        if np.linalg.cond(information) > 1e14:
            return nothing
        step = np.linalg.solve(information, design.T @ (truth - mean))
        beta = beta + np.clip(step, -5.0, 5.0)
        if np.abs(step).max() < 1e-10:
            covariance = np.linalg.inv(information)
            if patient is not None:
                surplus = _by_patient(design * (truth - expit(design @ beta + offset))[:, None],
                                      patient)  # fmt: skip
                covariance = covariance @ (surplus.T @ surplus) @ covariance
                covariance *= len(surplus) / max(len(surplus) - 1, 1)
            errors = np.sqrt(np.diag(covariance))
            return [(float(b), float(e)) for b, e in zip(beta, errors, strict=True)]
    return nothing


def _by_patient(rows: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Sums [patients, k] of rows [n, k] over each patient."""
    return np.column_stack([np.bincount(patient, weights=column) for column in rows.T])


def youden_threshold(idh: np.ndarray, probability: np.ndarray) -> float:
    """Threshold of the highest sensitivity + specificity (Youden), halfway to the next score.

    NaN when only one class is present. Among equals the highest threshold is taken.
    """
    if len(set(idh.tolist())) < 2:
        return math.nan
    scores = np.unique(probability)[::-1]
    positive, negative = ranked_counts(idh, probability)
    gain = np.cumsum(positive) / positive.sum() - np.cumsum(negative) / negative.sum()
    best = int(np.argmax(np.round(gain, 12)))
    below = scores[best + 1] if best + 1 < len(scores) else 0.0
    return float((scores[best] + below) / 2)
