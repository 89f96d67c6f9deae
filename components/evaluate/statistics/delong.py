"""DeLong's variance of AUROCs and the paired test, by the O(n log n) algorithm.

DeLong, DeLong and Clarke-Pearson, Biometrics 1988; Sun and Xu, IEEE Signal Processing Letters 2014.
Values equal those of R's pROC (`var`, `ci.auc`, `roc.test`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Area:
    """An AUROC with its standard error and its DeLong interval, clipped to [0, 1].

    A perfect ranking has no variance by DeLong, which says nothing of the next patient: its limits
    are Newcombe's (see `perfect_limits`), and only its standard error stays 0.
    """

    value: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedTest:
    """Two AUROCs on the same patients.

    `difference` is first - second, `low` and `high` its interval; `p` is two-sided, NaN when the
    difference has no variance (equal rankings, or both perfect).
    """

    first: float
    second: float
    difference: float
    standard_error: float
    low: float
    high: float
    z: float
    p: float


def delong(idh: np.ndarray, probability: np.ndarray, confidence: float = 0.95) -> Area:
    """AUROC of one model; NaN throughout when a class is absent.

    Args:
        idh: int [n], 1 mutant, 0 wildtype.
        probability: float [n].
    """
    from scipy.special import ndtri

    areas, covariance = _areas(idh, probability[None, :])
    error = math.sqrt(covariance[0, 0]) if covariance[0, 0] >= 0 else math.nan
    half = float(ndtri(0.5 + confidence / 2)) * error
    value = float(areas[0])
    if value in (0.0, 1.0):
        mutants = int((np.asarray(idh) == 1).sum())
        return Area(value, error, *perfect_limits(value, mutants, len(idh) - mutants, confidence))
    if math.isnan(value):
        return Area(value, math.nan, math.nan, math.nan)
    return Area(value, error, max(value - half, 0.0), min(value + half, 1.0))


def perfect_limits(
    value: float, mutants: int, wildtypes: int, confidence: float
) -> tuple[float, float]:
    """Limits of an AUROC of exactly 1 or 0 (Newcombe, Stat Med 2006, 25:559, method 5).

    The other limit is the area whose own standard error, by Hanley and McNeil's formula with both
    classes of (n - 2) / 2, just reaches the observed one.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    z, others = float(ndtri(0.5 + confidence / 2)), (mutants + wildtypes) / 2 - 1

    def room(area: float) -> float:
        spread = 1 + others * ((1 - area) / (2 - area) + area / (1 + area))
        return (1 - area) - z * math.sqrt(area * (1 - area) * spread / (mutants * wildtypes))

    low = float(brentq(room, 0.0, 1 - 1e-12))
    return (low, 1.0) if value == 1.0 else (0.0, 1 - low)


def paired_delong(
    idh: np.ndarray, first: np.ndarray, second: np.ndarray, confidence: float = 0.95
) -> PairedTest:
    """Compare the AUROCs of two models on the same n patients."""
    from scipy.special import ndtr, ndtri

    areas, covariance = _areas(idh, np.stack([first, second]))
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # Equal rankings leave a variance of rounding errors, of either sign.
    error = math.sqrt(variance) if variance > 1e-18 else 0.0 if variance == variance else math.nan
    z = difference / error if error else math.nan
    half = float(ndtri(0.5 + confidence / 2)) * error
    return PairedTest(
        float(areas[0]),
        float(areas[1]),
        difference,
        error,
        difference - half,
        difference + half,
        z,
        2 * float(ndtr(-abs(z))),
    )


def _areas(idh: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROCs [m] of m score rows [m, n] and their covariance [m, m], unbiased as in pROC."""
    from scipy.stats import rankdata

    mutant = np.asarray(idh) == 1
    positives, negatives = int(mutant.sum()), int((~mutant).sum())
    models = len(scores)
    if not positives or not negatives:
        return np.full(models, math.nan), np.full((models, models), math.nan)
    # Placement of each patient among those of the other class: midranks do it without pairs.
    together = rankdata(scores, axis=1)
    of_mutants = (together[:, mutant] - rankdata(scores[:, mutant], axis=1)) / negatives
    of_wildtypes = 1 - (together[:, ~mutant] - rankdata(scores[:, ~mutant], axis=1)) / positives
    covariance = _covariance(of_mutants) / positives + _covariance(of_wildtypes) / negatives
    return of_mutants.mean(axis=1), covariance


def _covariance(placements: np.ndarray) -> np.ndarray:
    if placements.shape[1] < 2:
        return np.full((len(placements),) * 2, math.nan)
    return np.atleast_2d(np.cov(placements))
