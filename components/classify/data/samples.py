"""The samples of the classifier as read from disk, and who learns from whom."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.core.errors import BadInput
from components.core.files import read_json
from components.core.tables import read_csv
from components.core.vocabulary import (
    AGE,
    DEVELOPMENT,
    FEATURE_NAMES,
    SLICE_OFFSETS,
    Origin,
    Split,
    Status,
)
from components.features.extract import FEATURES_FILE, SAMPLES_FILE

log = logging.getLogger(__name__)

COPIED = ("cohort", "subset", "site", "sex", "dice")
"""Text columns that are carried into predictions.csv as they are."""


@dataclass(frozen=True)
class Samples:
    """A samples folder; row i of every array is patient i.

    Attributes:
        folder: where the images lie.
        description: samples.json.
        patient_ids: str [n].
        text: column name -> str [n], the columns of COPIED.
        fold: int [n], -1 where there is none.
        idh, grade, codeletion: float [n], NaN where unknown.
        features: float64 [n, 24] in the order of FEATURE_NAMES, NaN where missing.
        status: str [n].
        usable: bool [n], patients with a tumour and all features.
    """

    folder: Path
    description: dict[str, Any]
    patient_ids: np.ndarray
    text: dict[str, np.ndarray]
    fold: np.ndarray
    idh: np.ndarray
    grade: np.ndarray
    codeletion: np.ndarray
    features: np.ndarray
    status: np.ndarray
    usable: np.ndarray
    trained_on: Origin

    @property
    def age(self) -> np.ndarray:
        """Years, float [n]."""
        return self.features[:, FEATURE_NAMES.index(AGE)]

    @property
    def slices(self) -> int:
        """Slices of a patient: 5, but for an ablation."""
        return len(self.description.get("offsets", SLICE_OFFSETS))

    @property
    def development(self) -> np.ndarray:
        """bool [n], patients of the development cohort."""
        return self.text["cohort"] == DEVELOPMENT

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of a patient's image: (slices, 3, y, x)."""
        side = self.description["grid"]
        return self.slices, 3, side, side

    def images(self, rows: Ordered[int] | np.ndarray) -> np.ndarray:
        """float32 [len(rows), slices, 3, y, x]. Raises BadInput when one is missing or unlike."""
        stack = np.empty((len(rows), *self.shape), dtype=np.float32)
        for place, row in enumerate(rows):
            stack[place] = self._image(row, slice(None))
        return stack

    def image_slice(self, row: int, which: int) -> np.ndarray:
        """float32 [3, y, x], slice `which` (0-based) of a patient; no other is read.

        Raises BadInput when the image is missing or unlike.
        """
        return self._image(row, which)

    def _image(self, row: int, part: int | slice) -> np.ndarray:
        path = self.folder / "images" / f"{self.patient_ids[row]}.npy"
        try:
            image = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise BadInput(path, f"not a sample ({error})", "extract the features again") from None
        if image.shape == self.shape and np.isfinite(found := np.asarray(image[part])).all():
            return found
        raise BadInput(
            path, f"shape {image.shape} or values unusable", "extract the features again"
        )


@dataclass(frozen=True)
class MemberSamples:
    """Patients (row numbers) one member of the cross-validation learns from.

    Attributes:
        index: position among the members, 0-based.
        fold: the fold held out; None without cross-validation.
        training: rows to learn from.
        tuning: rows on which stages stop early; empty in cross-validation, where the held-out fold
            is the test.
        held_out: rows for calibration and thresholds: the fold, or the tuning patients.
    """

    index: int
    fold: int | None
    training: np.ndarray
    tuning: np.ndarray
    held_out: np.ndarray


def read_samples(folder: Path | str) -> Samples:
    """Read a samples folder as `extract_samples` writes it.

    Raises BadInput: not such a folder, a column missing, a patient twice, or a value unreadable.
    """
    folder = Path(folder)
    path = folder / FEATURES_FILE
    try:
        description, rows = read_json(folder / SAMPLES_FILE), read_csv(path)
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(folder, f"not a samples folder ({error})", "extract the features") from None
    if not rows:
        raise BadInput(path, "no patients", "prepare a cohort")
    wanted = {"patient_id", "fold", "idh", "grade", "codeletion", "status", "origin"}
    if missing := wanted.union(COPIED, FEATURE_NAMES).difference(rows[0]):
        raise BadInput(path, f"column '{min(missing)}' is missing", "extract the features again")
    for identifier, count in Counter(row["patient_id"] for row in rows).items():
        if count > 1:
            raise BadInput(f"{path}, patient {identifier}", "stands twice", "keep one row")
    numbers = {
        name: np.array([_number(path, row, name) for row in rows])
        for name in ("fold", "idh", "grade", "codeletion", *FEATURE_NAMES)
    }
    features = np.stack([numbers[name] for name in FEATURE_NAMES], axis=1)
    status = np.array([row["status"] for row in rows])
    usable = (status == Status.OK.value) & np.isfinite(features).all(axis=1)
    for row, patient_is_usable in zip(rows, usable, strict=True):
        if not patient_is_usable:
            log.warning("patient %s: %s", row["patient_id"], _why_not(row))
    origins = {row["origin"] for row in rows if row["cohort"] == DEVELOPMENT}
    return Samples(
        folder=folder,
        description=description,
        patient_ids=np.array([row["patient_id"] for row in rows]),
        text={name: np.array([row[name] for row in rows]) for name in COPIED},
        fold=np.where(np.isnan(numbers["fold"]), -1, numbers["fold"]).astype(int),
        idh=numbers["idh"],
        grade=numbers["grade"],
        codeletion=numbers["codeletion"],
        features=features,
        status=status,
        usable=usable,
        trained_on=Origin.PHANTOMS if Origin.PHANTOMS.value in origins else Origin.PATIENTS,
    )


def _why_not(row: dict[str, str]) -> str:
    if row["status"] != Status.OK.value:
        return f"{row['status']}, left out of training and without an image-based answer"
    lacking = [name for name in FEATURE_NAMES if not row[name] or row[name].lower() == "nan"]
    return f"no {', '.join(lacking)}: left out of training and without an image-based answer"


def _number(path: Path, row: dict[str, str], column: str) -> float:
    cell = row[column]
    try:
        value = float(cell) if cell else float("nan")
    except ValueError:
        raise BadInput(
            f"{path}, patient {row['patient_id']}, column {column}",
            f"'{cell}' is not a number",
            "extract the features again",
        ) from None
    return float("nan") if np.isinf(value) else value


def plan_classifier_members(samples: Samples, min_patients: int) -> list[MemberSamples]:
    """Who trains and who is held out, by the folds of the samples (or the split without folds).

    Patients without IDH status, tumour or age are never trained on.

    Raises BadInput: too few labelled patients, or one class only, in any member's training or
    held-out part.
    """
    known = samples.development & samples.usable & np.isfinite(samples.idh)
    folds = sorted(set(samples.fold[known].tolist()) - {-1})
    subset = samples.text["subset"]
    members = []
    if len(folds) > 1:
        for index, fold in enumerate(folds):
            out = known & (samples.fold == fold)
            rest = np.flatnonzero(known & ~out)
            nobody = np.array([], dtype=int)
            members.append(MemberSamples(index, fold, rest, nobody, np.flatnonzero(out)))
    else:
        tuning = np.flatnonzero(known & (subset == Split.TUNING.value))
        training = np.flatnonzero(known & (subset == Split.TRAINING.value))
        members.append(MemberSamples(0, None, training, tuning, tuning))
    for member in members:
        _check_member(samples, member, min_patients)
    return members


def _check_member(samples: Samples, member: MemberSamples, min_patients: int) -> None:
    where = "training patients" if member.fold is None else f"training of fold {member.fold}"
    if len(member.training) < min_patients:
        raise BadInput(
            where,
            f"{len(member.training)} with known IDH status and a tumour, {min_patients} needed",
            "add patients, or lower classify.min_patients",
        )
    both = set(samples.idh[member.training].tolist())
    if len(both) < 2:
        raise BadInput(where, "all of one IDH status", "add patients of the other")
    if member.fold is None and len(set(samples.idh[member.tuning].tolist())) < 2:
        raise BadInput(
            "tuning patients", "none, or all of one IDH status", "give both kinds split 'tuning'"
        )
