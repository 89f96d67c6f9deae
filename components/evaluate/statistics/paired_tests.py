"""Tests of one model against another on the same patients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.evaluate.statistics.delong import paired_delong
from components.evaluate.statistics.metrics import wilson


def exact_binomial(successes: int, trials: int, share: float) -> float:
    """Two-sided P of R's binom.test(successes, trials, share).

    The paper's accuracy test: correct calls of the hybrid against the accuracy of age alone, taken
    as if it were known without error. `share` may be 0 or 1, as in R. NaN without trials.
    """
    from scipy.stats import binomtest

    if not trials:
        return math.nan
    if share in (0.0, 1.0):
        return 1.0 if successes == trials * share else 0.0
    return float(binomtest(successes, trials, share).pvalue)


def exact_mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided exact McNemar P of two bool arrays [n]: which patients each model got right.

    Unlike `exact_binomial` it allows for both models' errors, and for their being made on the same
    patients. 1 when the models never differ.
    """
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    if not only_first + only_second:
        return 1.0
    return exact_binomial(only_first, only_first + only_second, 0.5)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (R: p.adjust(method = "holm")); NaN stays NaN, uncounted."""
    order = sorted(
        (i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i]
    )
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True)
class NonInferiority:
    """Whether an AUROC is not worse than another by `margin`.

    `p` is one-sided, of the hypothesis that the difference is -margin or worse; `passed` when the
    lower end of the two-sided interval of the difference lies above -margin, which is exactly when
    p is below (1 - confidence) / 2.
    """

    margin: float
    p: float
    passed: bool


def non_inferiority(
    idh: np.ndarray,
    candidate: np.ndarray,
    champion: np.ndarray,
    margin: float,
    confidence: float = 0.95,
) -> NonInferiority:
    """Test AUROC(candidate) > AUROC(champion) - margin on the same n patients (DeLong).

    Without any variance of the difference (equal rankings) P is 0 or 1 as the difference decides.
    """
    from scipy.special import ndtr

    test = paired_delong(idh, candidate, champion, confidence)
    room = test.difference + margin
    p = float(ndtr(-room / test.standard_error)) if test.standard_error else float(room <= 0)
    p = math.nan if math.isnan(test.difference) else p
    return NonInferiority(margin, p, test.low > -margin)


def paired_difference(
    first: np.ndarray, second: np.ndarray, confidence: float
) -> tuple[float, float, float]:
    """Difference of two accuracies on the same patients, with Newcombe's paired score interval.

    Args:
        first, second: bool [n], which patients each model got right.

    Returns:
        (difference, low, high). Newcombe, Statistics in Medicine 1998, 17:2635, method 10.
    """
    count = len(first)
    if not count:
        return math.nan, math.nan, math.nan
    a, b = int((first & second).sum()), int((first & ~second).sum())
    c, d = int((~first & second).sum()), int((~first & ~second).sum())
    one, two = (a + b) / count, (a + c) / count
    low1, high1 = wilson(a + b, count, confidence)
    low2, high2 = wilson(a + c, count, confidence)
    phi = _phi(a, b, c, d)
    down = (one - low1) ** 2 - 2 * phi * (one - low1) * (high2 - two) + (high2 - two) ** 2
    up = (high1 - one) ** 2 - 2 * phi * (high1 - one) * (two - low2) + (two - low2) ** 2
    difference = one - two
    return difference, difference - math.sqrt(max(down, 0.0)), difference + math.sqrt(max(up, 0.0))


def _phi(a: int, b: int, c: int, d: int) -> float:
    """Correlation of the two models' being right, with the correction of Newcombe's method 10."""
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if not margins:
        return 0.0
    cross = float(a * d - b * c)
    if cross > 0:
        cross = max(cross - (a + b + c + d) / 2, 0.0)
    return cross / math.sqrt(margins)


def independent_difference(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Difference of two figures (value, low, high) of different patients, with its interval.

    The limits squared and added; with Wilson's limits of proportions this is method 10 of Newcombe,
    Statistics in Medicine 1998, 17:873.
    """
    (one, low1, high1), (two, low2, high2) = first, second
    difference = one - two
    return (
        difference,
        difference - math.hypot(one - low1, high2 - two),
        difference + math.hypot(high1 - one, two - low2),
    )
