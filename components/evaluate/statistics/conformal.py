"""How often the true IDH status lies in its conformal set, class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from components.core.vocabulary import Idh

if TYPE_CHECKING:
    import pandas as pd

SETS = ("mutant", "wildtype", "both", "none")
"""Conformal sets as predictions.csv writes them."""


def coverage_block(rows: pd.DataFrame, confidence: float) -> dict[str, Any] | None:
    """Coverage of one model's sets on one test set; None where no patient has a set.

    Returns:
        "level" (the lowest, where releases differ); "sets", set -> patients; "classes", "mutant"
        and "wildtype" -> "patients", "covered" (value, low, high; exact binomial limits of Clopper
        and Pearson 1934), "p" (of the one-sided exact binomial test that fewer than `level` are
        covered).

    Args:
        rows: patient-level rows with idh, idh_set and set_level; others without a set are left out.
    """
    if "idh_set" not in rows:
        return None
    rows = rows[rows["idh_set"].notna() & rows["idh"].notna()]
    if rows.empty:
        return None
    level = float(rows["set_level"].min())
    classes = {}
    for status in Idh:
        own = rows.loc[rows["idh"] == status, "idh_set"]
        name = status.name.lower()
        classes[name] = _coverage(int(own.isin((name, "both")).sum()), len(own), level, confidence)
    counts = rows["idh_set"].value_counts()
    return {
        "level": level,
        "sets": {name: int(counts.get(name, 0)) for name in SETS},
        "classes": classes,
    }


def _coverage(covered: int, patients: int, level: float, confidence: float) -> dict[str, Any]:
    from scipy.stats import binomtest

    if not patients:
        return {"patients": 0, "covered": dict.fromkeys(("value", "low", "high")), "p": None}
    limits = binomtest(covered, patients).proportion_ci(confidence, method="exact")
    found = {"value": covered / patients, "low": float(limits.low), "high": float(limits.high)}
    p = float(binomtest(covered, patients, level, alternative="less").pvalue)
    return {"patients": patients, "covered": found, "p": p}
