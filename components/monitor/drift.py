"""Two samples of answers compared: column by column, and the rates of each status."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.core.vocabulary import Status

BINS = 10
"""Bins of the population stability index: deciles of the reference."""

FLOOR = 1e-4
"""Share of an empty bin, so that its logarithm exists."""

PSI_ALARM = 0.25
"""Above it a population is usually called shifted (Siddiqi 2006, Credit Risk Scorecards)."""

P_ALARM = 0.01
"""P-value of an alarm, before it is divided by the number of columns (Bonferroni)."""

FEWEST = 30
"""Answers below which nothing is concluded: by chance alone, the PSI of fewer is large."""


@dataclass(frozen=True)
class Shift:
    """One column, or one rate, then and now.

    Attributes:
        what: column name, or "rate of STATUS".
        reference, current: mean, or rate (0 to 1).
        psi: population stability index over the reference's deciles; None of a rate.
        p: of the two-sample Kolmogorov-Smirnov test, or of Fisher's exact test of a rate.
        drifted: whether both measures (of a rate: p) raise an alarm.
    """

    what: str
    reference: float
    current: float
    psi: float | None
    p: float
    drifted: bool


@dataclass(frozen=True)
class Drift:
    """All shifts between two samples of answers.

    Attributes:
        reference, current: answers in each.
        shifts: one a column and one a status; empty when either sample is below FEWEST.
    """

    reference: int
    current: int
    shifts: tuple[Shift, ...]

    @property
    def enough(self) -> bool:
        """Whether there was enough to conclude anything."""
        return min(self.reference, self.current) >= FEWEST

    @property
    def drifted(self) -> bool:
        """Whether anything raises an alarm."""
        return any(shift.drifted for shift in self.shifts)


def compare_samples(reference: pd.DataFrame, current: pd.DataFrame) -> Drift:
    """Compare two samples; both hold a text column `status` and numeric columns, NaN allowed."""
    if min(len(reference), len(current)) < FEWEST:
        return Drift(len(reference), len(current), ())
    columns = [name for name in reference.columns if name != "status"]
    alarm = P_ALARM / (len(columns) + len(Status))
    shifts = [_column(name, reference[name], current[name], alarm) for name in columns]
    shifts += [_rate(status, reference["status"], current["status"], alarm) for status in Status]
    return Drift(
        len(reference), len(current), tuple(shift for shift in shifts if shift is not None)
    )


def psi(reference: np.ndarray, current: np.ndarray) -> float:
    """Population stability index: sum over bins of (c - r) ln(c / r), shares c and r.

    Bins are the reference's deciles; a value that many patients share makes fewer, wider ones.
    """
    edges = np.unique(np.quantile(reference, np.linspace(0.0, 1.0, BINS + 1)[1:-1]))

    def shares(values: np.ndarray) -> np.ndarray:
        places = np.searchsorted(edges, values, side="right")
        counts = np.bincount(places, minlength=len(edges) + 1)
        return np.maximum(counts / len(values), FLOOR)

    then, now = shares(reference), shares(current)
    return float(((now - then) * np.log(now / then)).sum())


def _column(name: str, reference: pd.Series, current: pd.Series, alarm: float) -> Shift | None:
    """None when too few patients have the number."""
    from scipy.stats import ks_2samp

    then, now = (s.dropna().to_numpy(np.float64) for s in (reference, current))
    if min(len(then), len(now)) < FEWEST:
        return None
    index, p = psi(then, now), float(ks_2samp(then, now).pvalue)
    drifted = index > PSI_ALARM and p < alarm
    return Shift(name, float(then.mean()), float(now.mean()), index, p, drifted)


def _rate(status: Status, reference: pd.Series, current: pd.Series, alarm: float) -> Shift:
    from scipy.stats import fisher_exact

    hits = [int((s == status.value).sum()) for s in (reference, current)]
    sizes = [len(reference), len(current)]
    table = [[hit, size - hit] for hit, size in zip(hits, sizes, strict=True)]
    p = float(fisher_exact(table).pvalue)
    then, now = (hit / size for hit, size in zip(hits, sizes, strict=True))
    return Shift(f"rate of {status.value}", then, now, None, p, p < alarm)
