"""Tables without images: how far age, and the shape of a mask, carry from one centre to another."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.classify.comparators.age import train_age
from components.classify.comparators.forest import train_forest
from components.classify.data.selection import select
from components.classify.settings import ForestSettings
from components.cohort.manifest import Patient, parse_patient, read_table
from components.core.errors import BadInput
from components.core.progress import Progress, silent
from components.core.tables import read_csv, write_csv
from components.core.vocabulary import AGE, FEATURE_NAMES, SHAPE_FEATURES, Model, Split

log = logging.getLogger(__name__)

AGE_ALONE, SHAPE, SHAPE_AGE = Model.AGE.value, "shape", "shape_and_age"
MODELS: dict[str, tuple[str, ...]] = {
    AGE_ALONE: (AGE,),
    SHAPE: SHAPE_FEATURES,
    SHAPE_AGE: (*SHAPE_FEATURES, AGE),
}
"""Model -> numbers it reads."""

FOREST = ForestSettings(trees=500, folds=2, min_leaf=(3,), max_features=(0.3,), repeats=1)
"""One forest, without a search: ten of them are cross-validated."""

FOLDS = 10
PYRADIOMICS = "original_shape_"
"""What pyradiomics writes before a feature's name."""

_COLUMNS = ("patient_id", "cohort", "subset", "site", "idh", "age", "sex", "grade", "model",
            "probability")  # fmt: skip


@dataclass(frozen=True)
class Numbers:
    """Patients of one centre whose IDH status is known.

    Attributes:
        name: of the centre.
        patients: their manifest rows.
        features: float64 [n, 24] in the order of FEATURE_NAMES, NaN where unknown.
    """

    name: str
    patients: list[Patient]
    features: np.ndarray

    @property
    def idh(self) -> np.ndarray:
        """[n], 0 or 1."""
        return np.array([float(p.idh) for p in self.patients if p.idh is not None])

    def known(self, names: tuple[str, ...]) -> np.ndarray:
        """bool [n]: patients with all of these numbers."""
        return np.isfinite(self.features[:, _places(names)]).all(axis=1)


def _places(names: tuple[str, ...]) -> list[int]:
    return [FEATURE_NAMES.index(name) for name in names]


def read_numbers(
    name: str, manifest: Path | str, shape: Path | None = None, *, progress: Progress = silent
) -> Numbers:
    """Ages of a manifest, and shape features from pyradiomics' table or from its tumour masks.

    Args:
        shape: CSV with a column ID (or patient_id) and pyradiomics' shape features; its rows are
            found by the manifest's `examination` column, or by the patient.

    Raises:
        BadInput: an unusable manifest or table. A row that no cohort may hold (a child), and a mask
            that cannot be read, are left out with a warning.
    """
    patients = [patient for patient in _readable(manifest) if patient.idh is not None]
    if not patients:
        raise BadInput(manifest, "no patient with a known IDH status", "fill column idh")
    features = np.full((len(patients), len(FEATURE_NAMES)), np.nan)
    features[:, FEATURE_NAMES.index(AGE)] = [
        np.nan if patient.age is None else patient.age for patient in patients
    ]
    find = _from_table(shape) if shape else _from_mask
    for row, patient in enumerate(patients):
        found = find(patient)
        if found is not None:
            features[row, _places(SHAPE_FEATURES)] = found
        progress(row + 1, len(patients), patient.patient_id)
    return Numbers(name, patients, features)


def _readable(manifest: Path | str) -> Iterator[Patient]:
    table = read_table(manifest)
    for index in range(len(table.rows)):
        try:
            yield parse_patient(table, index)
        except BadInput as error:
            log.warning("left out: %s", error)


def _from_table(path: Path) -> Callable[[Patient], list[float] | None]:
    try:
        rows = read_csv(path)
        key = "ID" if rows and "ID" in rows[0] else "patient_id"
        wanted = [
            name if rows and name in rows[0] else PYRADIOMICS + name for name in SHAPE_FEATURES
        ]
        table = {row[key]: [float(row[name]) for name in wanted] for row in rows}
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(
            path, f"not a table of shape features ({error!r})", "give pyradiomics' table with an ID"
        ) from None

    def find(patient: Patient) -> list[float] | None:
        return table.get(patient.extra.get("examination", "")) or table.get(patient.patient_id)

    return find


def _from_mask(patient: Patient) -> list[float] | None:
    from components.features.single_mask import features_of_mask

    if patient.tumor_mask is None:
        return None
    level = logging.getLogger("components.features.single_mask")
    level.setLevel(logging.ERROR)
    try:
        values = features_of_mask(patient.tumor_mask)
    except BadInput as error:
        log.warning("patient %s has no shape: %s", patient.patient_id, error)
        return None
    return [float(values[name] or 0.0) for name in SHAPE_FEATURES]


def study_numbers(
    training: Numbers,
    tests: list[Numbers],
    out: Path,
    *,
    forest: ForestSettings = FOREST,
    seed: int = 0,
    progress: Progress = silent,
) -> Path:
    """Train age alone, shape, and both on one centre; answer for it (cross-fitted) and others.

    Each model learns from, and answers for, the patients who have all of its numbers.

    Returns:
        `out`/predictions.csv: set "internal" is the training centre, out of fold.

    Raises:
        BadInput: fewer than FOLDS training patients of either IDH status.
    """
    rows: list[Mapping[str, object]] = []
    usable = {model: training.known(names) for model, names in MODELS.items()}
    chosen = [model for model, known in usable.items() if known.any()]
    for index, model in enumerate(chosen):
        progress(index, len(chosen), model)
        names, known = MODELS[model], usable[model]
        features, idh = training.features[known], training.idh[known]
        if min((idh == 0).sum(), (idh == 1).sum()) < FOLDS:
            raise BadInput(
                training.name, f"fewer than {FOLDS} patients of one IDH status", "add patients"
            )
        answers = _out_of_fold(features, idh, names, forest, seed)
        rows += _rows(training, known, Split.INTERNAL.value, model, answers)
        answer = _train(features, idh, names, forest, seed)
        for test in tests:
            asked = test.known(names)
            if asked.any():
                rows += _rows(test, asked, test.name, model, answer(test.features[asked]))
    path = out / "predictions.csv"
    write_csv(path, _COLUMNS, rows)
    return path


Answer = Callable[[np.ndarray], np.ndarray]


def _train(
    features: np.ndarray, idh: np.ndarray, names: tuple[str, ...], forest: ForestSettings, seed: int
) -> Answer:
    """Features [n, 24] -> probability [n], learnt from the numbers named."""
    if names == (AGE,):
        model = train_age(features[:, _places(names)[0]], idh, balance=False)
        return lambda asked: model.predict(asked[:, _places(names)[0]])
    masked = _only(features, names)
    trained = train_forest(masked, idh, select(masked, idh, 1.0), forest, seed, balance=False)
    return lambda asked: trained.predict(_only(asked, names))


def _only(features: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """The same with every other feature constant, which no selection keeps."""
    left = np.zeros_like(features)
    left[:, _places(names)] = features[:, _places(names)]
    return left


def _out_of_fold(
    features: np.ndarray, idh: np.ndarray, names: tuple[str, ...], forest: ForestSettings, seed: int
) -> np.ndarray:
    from sklearn.model_selection import StratifiedKFold

    answers = np.full(len(idh), np.nan)
    splits = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for learnt, held_out in splits.split(features, idh):
        answer = _train(features[learnt], idh[learnt], names, forest, seed)
        answers[held_out] = answer(features[held_out])
    return answers


def _rows(
    table: Numbers, asked: np.ndarray, subset: str, model: str, answers: np.ndarray
) -> list[Mapping[str, object]]:
    patients = [patient for patient, may in zip(table.patients, asked, strict=True) if may]
    return [
        {
            "patient_id": patient.patient_id,
            "cohort": table.name,
            "subset": subset,
            "site": patient.site,
            "idh": int(patient.idh or 0),
            "age": "" if patient.age is None else patient.age,
            "sex": patient.sex.value if patient.sex else "",
            "grade": "" if patient.grade is None else patient.grade,
            "model": model,
            "probability": float(answer),
        }
        for patient, answer in zip(patients, answers, strict=True)
    ]
