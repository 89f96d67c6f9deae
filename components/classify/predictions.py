"""predictions.csv: every model's prediction of every patient, by members that have not seen him."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.classify.data.samples import Samples
from components.classify.inference.conformal import IdhSet
from components.core.tables import write_csv
from components.core.vocabulary import Model, Split, Status

COLUMNS = (
    "patient_id", "cohort", "subset", "site", "idh", "age", "sex", "grade", "model", "slice",
    "probability", "uncertainty", "ood", "status", "dice",
    "idh_set", "set_level",
)  # fmt: skip


@dataclass(frozen=True)
class Predictions:
    """One model's predictions; row i is patient i of the samples, NaN where it has none.

    Attributes:
        probability: [n].
        slices: [n, 5], or None for a model without images.
        uncertainty, ood: [n], or None for a model that gives none.
        abstained: bool [n], or None.
        sets: conformal set of each patient, or None for a model that makes none; None also for a
            patient it was calibrated on, whom it says nothing about.
        set_level: of the sets.
    """

    probability: np.ndarray
    slices: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    ood: np.ndarray | None = None
    abstained: np.ndarray | None = None
    sets: tuple[IdhSet | None, ...] | None = None
    set_level: float | None = None


def write_predictions(
    path: Path, samples: Samples, predictions: dict[Model, Predictions], *, cross_fitted: bool
) -> None:
    """Write one row a patient, model and slice, and one with an empty slice: the patient's mean.

    In cross-validation every development patient's answer is out-of-fold, and its subset is
    "internal". A patient without tumour has one row a model, with an empty probability and status
    no_tumor (age answers nevertheless). A model that lacks a number it needs, such as the age, has
    no row for that patient.
    """
    rows = []
    for index in range(len(samples.patient_ids)):
        person = _person(samples, index, cross_fitted)
        for model, found in predictions.items():
            rows += [person | {"model": model.value} | row for row in _rows(samples, index, found)]
    write_csv(path, COLUMNS, rows)


def _person(samples: Samples, index: int, cross_fitted: bool) -> dict[str, Any]:
    person: dict[str, Any] = {name: column[index] for name, column in samples.text.items()}
    if cross_fitted and samples.development[index]:
        person["subset"] = Split.INTERNAL.value
    return person | {
        "patient_id": samples.patient_ids[index],
        "idh": _whole(samples.idh[index]),
        "age": _number(samples.age[index]),
        "grade": _whole(samples.grade[index]),
    }


def _rows(samples: Samples, index: int, found: Predictions) -> list[dict[str, Any]]:
    value = found.probability[index]
    if not np.isfinite(value):
        missing = samples.status[index] == Status.NO_TUMOR.value
        return [{"status": Status.NO_TUMOR.value}] if missing else []
    abstained = found.abstained is not None and bool(found.abstained[index])
    status = Status.ABSTAIN if abstained else Status.OK
    whole: dict[str, Any] = {"probability": float(value), "status": status.value}
    for name in ("uncertainty", "ood"):
        column = getattr(found, name)
        whole[name] = "" if column is None else float(column[index])
    if found.sets is not None and (own := found.sets[index]) is not None:
        whole |= {"idh_set": own.value, "set_level": found.set_level}
    if found.slices is None:
        return [whole]
    single = [
        {"slice": number, "probability": float(p), "status": status.value}
        for number, p in enumerate(found.slices[index])
    ]
    return [*single, whole]


def _whole(value: float) -> int | str:
    return int(value) if np.isfinite(value) else ""


def _number(value: float) -> float | str:
    return float(value) if np.isfinite(value) else ""
