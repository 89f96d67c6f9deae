"""Agreement of the segmenter's masks with the manual ones, per set, and where it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("dice", "hd95_mm", "volume_error_ml")
"""Columns of features.csv; volume error is predicted minus manual, in mL."""


def segmentation_block(people: pd.DataFrame, worst: int) -> dict[str, Any]:
    """Mean and SD of every measure, and the patients with the lowest Dice.

    Args:
        people: one row a patient, indexed by patient_id, with any of MEASURES.
        worst: how many patients to name.

    Returns:
        {measure: {"mean", "sd", "median", "minimum", "maximum", "patients"}}, None where there is
        no manual mask (SD also for a single patient), and "worst", lowest Dice first.
    """
    block: dict[str, Any] = {name: summary(_column(people, name)) for name in MEASURES}
    block["worst"] = []
    if "dice" in people:
        known = people.dropna(subset=["dice"]).rename_axis("patient_id").reset_index()
        lowest = known.sort_values(["dice", "patient_id"]).head(worst)
        present = [name for name in (*MEASURES, "tumor_ml", "site") if name in lowest]
        block["worst"] = [
            {"patient_id": row["patient_id"], **{name: _plain(row[name]) for name in present}}
            for _, row in lowest.iterrows()
        ]
    return block


def summary(values: np.ndarray) -> dict[str, Any]:
    """Mean, SD (n - 1), median, extremes and number of the values that are not NaN."""
    known = values[~np.isnan(values)]
    if not known.size:
        return dict.fromkeys(("mean", "sd", "median", "minimum", "maximum")) | {"patients": 0}
    return {
        "mean": float(known.mean()),
        "sd": float(known.std(ddof=1)) if known.size > 1 else None,
        "median": float(np.median(known)),
        "minimum": float(known.min()),
        "maximum": float(known.max()),
        "patients": int(known.size),
    }


def _column(people: pd.DataFrame, name: str) -> np.ndarray:
    return people[name].to_numpy(dtype=float) if name in people else np.array([])


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return None if np.isnan(value) else float(value)
