"""Performance within subgroups, and the gaps between them, with what is too small to say."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.vocabulary import FEATURE_NAMES, SLICE_OFFSETS
from components.evaluate.read_tables import ModelPredictions
from components.evaluate.settings import EvaluateSettings
from components.evaluate.statistics import metrics
from components.evaluate.statistics.delong import delong
from components.evaluate.statistics.paired_tests import independent_difference
from components.evaluate.statistics.performance import correct, without_nan
from components.evaluate.subgroups import gaps

if TYPE_CHECKING:
    import pandas as pd

KNOWN_COLUMNS = {
    *FEATURE_NAMES,
    *(f"slice_{index}" for index in range(len(SLICE_OFFSETS))),
    *("patient_id", "cohort", "subset", "fold", "idh", "age", "sex", "grade", "codeletion", "site"),
    *("origin", "status", "tumor_ml", "dice", "hd95_mm", "volume_error_ml", "confidence"),
    "t1c_slice_mm",
    *("model", "slice", "probability", "uncertainty", "ood", "warnings", "idh_set", "set_level"),
}
"""Columns with a meaning of their own. Any other one that a cohort carries along (scanner, field
strength, slice thickness, noise, missing sequence) makes subgroups."""

MEASURES = ("accuracy", "auroc")
"""What groups are compared by."""

_MOST_GROUPS = 6
_SEX = {"M": "male", "F": "female"}


def subgroup_block(
    answers: ModelPredictions, people: pd.DataFrame, settings: EvaluateSettings
) -> dict[str, Any]:
    """{"groups": [...], "gaps": [...]} of one model on one set, JSON-ready.

    A group: attribute, group, patients, mutant, accuracy, auroc, sensitivity, specificity (each
    value, low, high) and "too_small" with its reason. A gap: attribute, measure (accuracy or
    auroc), and the largest difference of it between two groups that are large enough: best, worst,
    gap (value, low, high), and of accuracy "reasons" (see group_documents.GapReasons).

    Args:
        people: one row a patient, indexed by patient_id, at least for every patient of `answers`.
    """
    people = people.reindex(answers.patient_id)
    groups, found_gaps = [], []
    for attribute, labels in _attributes(people, settings).items():
        found = [
            {
                "attribute": attribute,
                "group": group,
                **_group(answers, np.asarray(labels == group), settings),
            }
            for group in _in_order(labels, settings)
        ]
        groups += found
        for measure in MEASURES:
            sized = [
                block
                for block in found
                if not block["too_small"] and not math.isnan(block[measure]["value"])
            ]
            if len(sized) > 1:
                found_gaps.append(_gap(sized, measure, settings))
    return without_nan({"groups": groups, "gaps": found_gaps})


def bands(borders: tuple[float, ...], unit: str) -> list[str]:
    """Names of the bands that inner borders make: "under 45 years", "45 to 60 years", ..."""
    if not borders:
        return [f"any {unit}"]
    middle = [f"{a:g} to {b:g} {unit}" for a, b in itertools.pairwise(borders)]
    return [f"under {borders[0]:g} {unit}", *middle, f"{borders[-1]:g} {unit} and over"]


def _attributes(people: pd.DataFrame, settings: EvaluateSettings) -> dict[str, pd.Series]:
    """Attribute -> label of each patient (missing where unknown), of at least two groups."""
    found: dict[str, pd.Series] = {}
    if "sex" in people:
        found["sex"] = people["sex"].map(_SEX)
    if "age" in people:
        found["age"] = _banded(people["age"], settings.age_bands, "years")
    if "grade" in people:
        found["grade"] = people["grade"].map({2: "2", 3: "3", 4: "4"})
    if "site" in people:
        found["site"] = people["site"]
    if "tumor_ml" in people:
        found["tumour volume"] = _banded(people["tumor_ml"], settings.size_bands_ml, "mL")
    if "t1c_slice_mm" in people:
        found["T1C slice"] = _banded(people["t1c_slice_mm"], settings.slice_bands_mm, "mm")
    for name in people.columns:
        if name not in KNOWN_COLUMNS:
            found[str(name)] = _carried(people[name])
    return {
        name: labels
        for name, labels in found.items()
        if 1 < labels.nunique() <= max(_MOST_GROUPS, 20 if name == "site" else 0)
    }


def _banded(values: pd.Series, borders: tuple[float, ...], unit: str) -> pd.Series:
    names = np.array(bands(borders, unit), dtype=object)
    place = np.digitize(values.to_numpy(dtype=float), borders)
    return values.astype(object).where(values.isna(), names[place])


def _carried(values: pd.Series) -> pd.Series:
    """Groups of a column we do not know: its values, or thirds where they are many numbers."""
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().sum() < values.notna().sum() or values.nunique() <= _MOST_GROUPS:
        return values.map(lambda cell: f"{cell:g}" if isinstance(cell, float) else str(cell),
                          na_action="ignore")  # fmt: skip
    borders = tuple(float(b) for b in np.unique(numbers.quantile([1 / 3, 2 / 3]).round(6)))
    return _banded(numbers, borders, "")


def _in_order(labels: pd.Series, settings: EvaluateSettings) -> list[str]:
    present = set(labels.dropna())
    by_size = [
        *bands(settings.age_bands, "years"),
        *bands(settings.size_bands_ml, "mL"),
        *bands(settings.slice_bands_mm, "mm"),
    ]
    known = [name for name in by_size if name in present]
    return known if len(known) == len(present) else sorted(present)


def _group(
    answers: ModelPredictions, inside: np.ndarray, settings: EvaluateSettings
) -> dict[str, Any]:
    idh = answers.idh[inside]
    right = correct(answers, settings.threshold)[inside]
    mutants, wildtypes = int(idh.sum()), int((idh == 0).sum())
    seen = inside & answers.answered
    area = delong(answers.idh[seen], answers.probability[seen], settings.confidence)
    shares = {
        "accuracy": (int(right.sum()), len(idh)),
        "sensitivity": (int(right[idh == 1].sum()), mutants),
        "specificity": (int(right[idh == 0].sum()), wildtypes),
    }
    return {
        "patients": len(idh),
        "mutant": mutants,
        **{
            name: metrics.proportion(*counts, settings.confidence)
            for name, counts in shares.items()
        },
        "auroc": {"value": area.value, "low": area.low, "high": area.high},
        "auroc_se": area.standard_error,
        "too_small": _too_small(len(idh), mutants, wildtypes, settings),
    }


def _too_small(patients: int, mutants: int, wildtypes: int, settings: EvaluateSettings) -> str:
    """Why a group says nothing; empty when it is large enough."""
    if patients < settings.min_subgroup:
        return f"fewer than {settings.min_subgroup} patients"
    if min(mutants, wildtypes) < settings.min_class:
        return f"fewer than {settings.min_class} of one class"
    return ""


def _gap(groups: list[dict[str, Any]], measure: str, settings: EvaluateSettings) -> dict[str, Any]:
    """The best and the worst of two or more groups by one measure, and what lies between."""
    ranked = sorted(groups, key=lambda group: group[measure]["value"])
    worst, best = ranked[0], ranked[-1]
    gap, low, high = independent_difference(_triple(best[measure]), _triple(worst[measure]))
    return {
        "attribute": best["attribute"],
        "measure": measure,
        "best": best["group"],
        "worst": worst["group"],
        "gap": {"value": gap, "low": low, "high": high},
        "reasons": _reasons(best, worst, gap, settings) if measure == "accuracy" else None,
    }


def _reasons(
    best: dict[str, Any], worst: dict[str, Any], gap: float, settings: EvaluateSettings
) -> dict[str, Any]:
    one, two = (
        (round(g["accuracy"]["value"] * g["patients"]), g["patients"]) for g in (best, worst)
    )
    p, parts = gaps.gap_by_chance(one, two), gaps.split_gap(best, worst)
    area = gaps.area_difference(best, worst, settings.confidence)
    return {
        "p": p,
        "detectable": gaps.detectable_gap(one, two, settings.alpha),
        **vars(parts),
        "auroc": area,
        "reading": gaps.reading(gap, p, parts, area["p"], settings.alpha),
    }


def _triple(found: dict[str, float]) -> tuple[float, float, float]:
    return found["value"], found["low"], found["high"]
