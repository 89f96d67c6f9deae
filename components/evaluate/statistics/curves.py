"""Curves as lists of points, thinned so that a page can hold them."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.evaluate.statistics import metrics

MAX_POINTS = 200
"""Points kept of a curve; the ends always."""


def roc_curve(idh: np.ndarray, probability: np.ndarray) -> dict[str, list[float]]:
    """{"fpr", "tpr", "threshold"}, from (0, 0) to (1, 1); empty lists when a class is absent.

    The first threshold is 1 above the highest probability: nothing is called.
    """
    positive, negative = metrics.ranked_counts(idh, probability)
    if not positive.sum() or not negative.sum():
        return {"fpr": [], "tpr": [], "threshold": []}
    tpr = np.r_[0.0, np.cumsum(positive) / positive.sum()]
    fpr = np.r_[0.0, np.cumsum(negative) / negative.sum()]
    scores = np.unique(probability)[::-1]
    threshold = np.r_[scores[0] + 1.0, scores]
    kept = _thin(_corners(fpr, tpr))
    return {
        "fpr": fpr[kept].tolist(),
        "tpr": tpr[kept].tolist(),
        "threshold": threshold[kept].tolist(),
    }


def pr_curve(idh: np.ndarray, probability: np.ndarray) -> dict[str, list[float]]:
    """{"recall", "precision"}, recall rising from 0; empty lists without mutants."""
    positive, negative = metrics.ranked_counts(idh, probability)
    if not positive.sum():
        return {"recall": [], "precision": []}
    hits = np.cumsum(positive)
    precision = hits / np.cumsum(positive + negative)
    recall = hits / positive.sum()
    kept = _thin(np.arange(len(hits)))
    return {
        "recall": [0.0, *recall[kept].tolist()],
        "precision": [float(precision[0]), *precision[kept].tolist()],
    }


def calibration_curve(
    idh: np.ndarray, probability: np.ndarray, bins: int, confidence: float
) -> list[dict[str, float]]:
    """One point per occupied equal-width bin: predicted mean, observed share with Wilson limits."""
    index = metrics.bin_of(probability, bins)
    points = []
    for b in np.unique(index):
        inside = index == b
        mutants, total = int(idh[inside].sum()), int(inside.sum())
        low, high = metrics.wilson(mutants, total, confidence)
        points.append(
            {
                "predicted": float(probability[inside].mean()),
                "observed": mutants / total,
                "low": low,
                "high": high,
                "patients": total,
            }
        )
    return points


def decision_curve(idh: np.ndarray, probability: np.ndarray) -> dict[str, list[float]]:
    """Net benefit of acting on the model, on everybody, at thresholds 1 to 99 percent.

    Net benefit = TP/n - FP/n * t/(1 - t) (Vickers and Elkin, Medical Decision Making 2006).
    """
    thresholds = np.arange(1, 100) / 100
    count = max(len(idh), 1)
    mutant, wildtype = np.sort(probability[idh == 1]), np.sort(probability[idh == 0])
    tp = len(mutant) - np.searchsorted(mutant, thresholds, side="left")
    fp = len(wildtype) - np.searchsorted(wildtype, thresholds, side="left")
    odds = thresholds / (1 - thresholds)
    everybody = (len(mutant) - len(wildtype) * odds) / count
    return {
        "threshold": thresholds.tolist(),
        "model": ((tp - fp * odds) / count).tolist(),
        "everybody": everybody.tolist(),
    }


def risk_coverage_curve(
    right: np.ndarray, uncertainty: np.ndarray | None, probability: np.ndarray
) -> dict[str, Any]:
    """Error rate among the most certain share of patients, as that share grows.

    Args:
        right: bool [n]; uncertainty: float [n] or None, then distance of P from certainty is taken.

    Returns:
        {"by", "coverage", "risk", "area"}; patients of equal uncertainty enter together.
    """
    by = "distance from 0 or 1" if uncertainty is None else "uncertainty"
    doubt = np.minimum(probability, 1 - probability) if uncertainty is None else uncertainty
    doubt = np.nan_to_num(doubt, nan=np.inf)
    order = np.argsort(doubt, kind="stable")
    last_of_tie = np.r_[doubt[order][1:] != doubt[order][:-1], True][: len(order)]
    wrong = np.cumsum(~right[order])
    taken = np.flatnonzero(last_of_tie)
    coverage, risk = (taken + 1) / max(len(right), 1), wrong[taken] / (taken + 1)
    steps = np.diff(np.r_[0.0, coverage])
    kept = _thin(np.arange(len(taken)))
    return {
        "by": by,
        "coverage": coverage[kept].tolist(),
        "risk": risk[kept].tolist(),
        "area": float((risk * steps).sum()) if len(taken) else None,
    }


def _corners(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Indices of a monotone path without points that lie on a straight run between neighbours."""
    if len(x) < 3:
        return np.arange(len(x))
    dx, dy = np.diff(x), np.diff(y)
    turns = np.abs(dx[:-1] * dy[1:] - dx[1:] * dy[:-1]) > 1e-15
    return np.flatnonzero(np.r_[True, turns, True])


def _thin(indices: np.ndarray) -> np.ndarray:
    if len(indices) <= MAX_POINTS:
        return indices
    chosen = np.unique(np.linspace(0, len(indices) - 1, MAX_POINTS).round().astype(int))
    return indices[chosen]
