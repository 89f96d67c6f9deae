"""Tests between two cohorts: of means, and of counts by category."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

SMALL_EXPECTED = 5.0
"""Expected count below which the chi-square approximation is not trusted (R warns there)."""

_ENUMERATED = 5_000_000
"""Tables that Fisher's test may enumerate; above, the chi-square P stands."""


def compare_means(first: pd.Series, second: pd.Series) -> dict[str, Any]:
    """Two-sample t-test of equal variances (R: t.test(a, b, var.equal = TRUE)); NaN is left out.

    Returns:
        {"p", "test", "difference", "p_welch"}, the last R's default; None where a cohort has fewer
        than two values or neither varies.
    """
    from scipy.stats import ttest_ind

    a, b = (values.dropna().to_numpy(dtype=float) for values in (first, second))
    if min(len(a), len(b)) < 2 or (a.std() == 0 and b.std() == 0):
        return {"p": None, "test": "two-sample t", "difference": None, "p_welch": None}
    return {
        "p": float(ttest_ind(a, b).pvalue),
        "test": "two-sample t",
        "difference": float(a.mean() - b.mean()),
        "p_welch": float(ttest_ind(a, b, equal_var=False).pvalue),
    }


def compare_counts(table: np.ndarray) -> dict[str, Any]:
    """Compare counts (category, cohort) of two cohorts; categories that nobody has are left out.

    Returns:
        {"p", "test", "chi_square_p", "fisher_p", "smallest_expected"}. `p` is Fisher's where an
        expected count is below 5 (`fisher_p` is None elsewhere, and where the table is too large to
        enumerate), the chi-square's otherwise.
    """
    table = table[table.sum(axis=1) > 0]
    nothing = {"p": None, "test": None, "chi_square_p": None, "fisher_p": None}
    if len(table) < 2 or (table.sum(axis=0) == 0).any():
        return {**nothing, "smallest_expected": None}
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    square = chi_square(table)
    exact = fisher_exact(table) if expected.min() < SMALL_EXPECTED else None
    return {
        "p": square if exact is None else exact,
        "test": "chi-square" if exact is None else "Fisher",
        "chi_square_p": square,
        "fisher_p": exact,
        "smallest_expected": float(expected.min()),
    }


def chi_square(table: np.ndarray) -> float:
    """P of R's chisq.test(table): Yates' correction in 2 x 2 tables, at most |O - E| itself."""
    from scipy.stats import chi2_contingency

    return float(chi2_contingency(table).pvalue)


def fisher_exact(table: np.ndarray) -> float | None:
    """Two-sided P of R's fisher.test on counts (category, 2): all tables with the same margins.

    The sum of the probabilities of tables no likelier than the one seen (Freeman and Halton), with
    R's relative tolerance of 1e-7. None when there are too many tables to enumerate.
    """
    from scipy.special import gammaln

    rows, drawn = table.sum(axis=1), int(table[:, 0].sum())
    taken, weight = np.zeros(1, dtype=int), np.zeros(1)
    for size, left in zip(rows, np.r_[np.cumsum(rows[::-1])[::-1][1:], 0], strict=True):
        if len(taken) * (size + 1) > _ENUMERATED:
            return None
        choice = np.arange(size + 1)
        ways = gammaln(size + 1) - gammaln(choice + 1) - gammaln(size - choice + 1)
        total, weights = taken[:, None] + choice, weight[:, None] + ways
        possible = (total <= drawn) & (total + left >= drawn)
        taken, weight = total[possible], weights[possible]
    every = gammaln(rows.sum() + 1) - gammaln(drawn + 1) - gammaln(rows.sum() - drawn + 1)
    seen = sum(
        gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
        for n, k in zip(rows, table[:, 0], strict=True)
    )
    chance = np.exp(weight - every)
    return float(min(chance[chance <= math.exp(seen - every) * (1 + 1e-7)].sum(), 1.0))
