"""Percentile intervals by resampling patients, never slices.

Predictions are ranked once; a resample is then a vector of counts over the cells of that ranking,
and every figure of merit is a sum over cells, so that all iterations of a block are one array
operation. Up to `max_cells` distinct probabilities a cell is one probability and the bootstrap is
the ordinary one. Above, neighbours in the ranking share a cell: the cells' borders keep every
threshold and calibration bin apart, so that only the areas are touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from components.evaluate.settings import EvaluateSettings
from components.evaluate.statistics import metrics

_BLOCK_NUMBERS = 4_000_000
"""Numbers of one block's array of counts: bounds memory, and decides no result."""

_Draw = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """Percentile interval, the mean of the iterations, and how many had a value (both classes)."""

    low: float
    high: float
    mean: float
    usable: int


@dataclass(frozen=True)
class _Ranking:
    """Cells of the ranking, highest score first.

    cell int [n] of each prediction; above: cells at or above the threshold; bins: first cell of
    each occupied calibration bin; error, square float [2, k]: mean of (p - y) and (p - y)^2 in each
    cell, of wildtypes (0) and mutants (1).
    """

    cell: np.ndarray
    count: int
    above: int
    bins: np.ndarray
    error: np.ndarray
    square: np.ndarray


def bootstrap(
    idh: np.ndarray,
    probability: np.ndarray,
    settings: EvaluateSettings,
    *,
    patient: np.ndarray | None = None,
    threshold: float | None = None,
) -> dict[str, Interval]:
    """Intervals of every figure of merit; name -> Interval.

    Args:
        idh: int [n]; probability: float [n], no NaN.
        patient: int [n], 0-based patient of each prediction where a patient has several (slices);
            None: each prediction is a patient of its own.
        threshold: of the 2 x 2 figures; the settings' own by default.

    The order of predictions changes nothing; with `patient`, as long as the numbers go with them.
    """
    threshold = settings.threshold if threshold is None else threshold
    ranking = _rank(idh, probability, threshold, settings)
    draw = _single(idh, ranking) if patient is None else _clustered(idh, ranking, patient)
    rng = np.random.default_rng(settings.seed)
    block = max(1, min(settings.iterations, _BLOCK_NUMBERS // (2 * ranking.count)))
    parts = []
    for start in range(0, settings.iterations, block):
        counts = draw(rng, min(block, settings.iterations - start))
        parts.append(_figures(counts[:, 0], counts[:, 1], ranking))
    tail = 50 * (1 - settings.confidence)
    return {
        name: _percentiles(np.concatenate([part[name] for part in parts]), tail)
        for name in parts[0]
    }


def _percentiles(values: np.ndarray, tail: float) -> Interval:
    usable = values[~np.isnan(values)]
    if not usable.size:
        return Interval(math.nan, math.nan, math.nan, 0)
    low, high = np.percentile(usable, [tail, 100 - tail])
    return Interval(float(low), float(high), float(usable.mean()), int(usable.size))


def _rank(
    idh: np.ndarray, probability: np.ndarray, threshold: float, settings: EvaluateSettings
) -> _Ranking:
    scores, inverse, sizes = np.unique(-probability, return_inverse=True, return_counts=True)
    scores = -scores
    part = np.arange(len(scores))
    if len(scores) > settings.max_cells:
        part = (np.cumsum(sizes) - sizes) * settings.max_cells // len(probability)
    bin_of_score = metrics.bin_of(scores, settings.calibration_bins)
    keys = (part, scores >= threshold, bin_of_score)
    new = np.zeros(len(scores), dtype=bool)
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    cell_of_score = np.cumsum(new)
    count = int(cell_of_score[-1]) + 1
    cell = cell_of_score[inverse]
    starts = np.flatnonzero(np.r_[True, bin_of_score[1:] != bin_of_score[:-1]])
    error = probability - idh
    return _Ranking(
        cell,
        count,
        int(cell_of_score[scores >= threshold].max(initial=-1)) + 1,
        cell_of_score[starts],
        _cell_means(error, idh, cell, count),
        _cell_means(error**2, idh, cell, count),
    )


def _cell_means(values: np.ndarray, idh: np.ndarray, cell: np.ndarray, count: int) -> np.ndarray:
    """Mean [2, count] of values over the wildtypes (0) and the mutants (1) of each cell."""
    place = idh * count + cell
    sums = np.bincount(place, weights=values, minlength=2 * count)
    sizes = np.bincount(place, minlength=2 * count)
    return (sums / np.maximum(sizes, 1)).reshape(2, count)


def _single(idh: np.ndarray, ranking: _Ranking) -> _Draw:
    """Resampler of patients with one prediction each: (rng, b) -> counts float [b, 2, k]."""
    # Sorted, so that two orders of the same patients draw the same samples.
    place = np.sort(idh * ranking.count + ranking.cell)
    kinds, sizes = np.unique(place, return_counts=True)
    patients = len(place)

    def by_kind(rng: np.random.Generator, size: int) -> np.ndarray:
        counts = np.zeros((size, 2 * ranking.count))
        counts[:, kinds] = rng.multinomial(patients, sizes / patients, size=size)
        return counts.reshape(size, 2, ranking.count)

    def by_patient(rng: np.random.Generator, size: int) -> np.ndarray:
        drawn = place[rng.integers(0, patients, size=(size, patients))]
        return _histogram(drawn, 2 * ranking.count).reshape(size, 2, ranking.count)

    # Drawing counts of kinds costs by kinds, drawing patients by patients.
    return by_kind if 10 * len(kinds) < patients else by_patient


def _clustered(idh: np.ndarray, ranking: _Ranking, patient: np.ndarray) -> _Draw:
    """Resampler of patients with several predictions: (rng, b) -> counts float [b, 2, k]."""
    from scipy.sparse import csr_matrix

    patients = int(patient.max()) + 1
    place = idh * ranking.count + ranking.cell
    ones = np.ones(len(place))
    cells = csr_matrix((ones, (place, patient)), shape=(2 * ranking.count, patients))

    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        counts = np.empty((size, 2 * ranking.count))
        step = max(1, _BLOCK_NUMBERS // patients)
        for start in range(0, size, step):
            stop = min(start + step, size)
            drawn = rng.integers(0, patients, size=(stop - start, patients))
            counts[start:stop] = (cells @ _histogram(drawn, patients).T).T
        return counts.reshape(size, 2, ranking.count)

    return draw


def _histogram(drawn: np.ndarray, width: int) -> np.ndarray:
    """How often each of 0..width-1 occurs in each row: float [b, width]."""
    rows = np.arange(len(drawn))[:, None] * width
    counts = np.bincount((drawn + rows).ravel(), minlength=len(drawn) * width)
    return counts.reshape(len(drawn), width).astype(float)


def _figures(
    negative: np.ndarray, positive: np.ndarray, ranking: _Ranking
) -> dict[str, np.ndarray]:
    """Every figure of merit [b] of counts [b, k] of wildtypes and mutants."""
    mutants, wildtypes = positive.sum(axis=1), negative.sum(axis=1)
    tp = positive[:, : ranking.above].sum(axis=1)
    fp = negative[:, : ranking.above].sum(axis=1)
    tn = wildtypes - fp
    total = mutants + wildtypes
    surplus = negative * ranking.error[0] + positive * ranking.error[1]
    squares = negative @ ranking.square[0] + positive @ ranking.square[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, specificity = tp / mutants, tn / wildtypes
        return {
            "auroc": metrics.roc_area(positive, negative),
            "auprc": metrics.pr_area(positive, negative),
            "average_precision": metrics.precision_area(positive, negative),
            "accuracy": (tp + tn) / total,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "ppv": tp / (tp + fp),
            "npv": tn / (wildtypes - fp + mutants - tp),
            "brier": squares / total,
            "ece": np.abs(np.add.reduceat(surplus, ranking.bins, axis=1)).sum(axis=1) / total,
        }
