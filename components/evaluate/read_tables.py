"""Reading predictions and features, and refusing what would make their figures meaningless."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.cohort.manifest import COLUMNS
from components.core.errors import BadInput
from components.core.vocabulary import Status

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("patient_id", "idh", "probability")

_TEXT = ("patient_id", "cohort", "subset", "site", "model", "status", "sex", "slice")


@dataclass(frozen=True)
class ModelPredictions:
    """One model's answers on one set, for patients whose IDH status is known, sorted by patient.

    Attributes:
        patient_id: str [n], one a patient.
        idh: int [n].
        probability: float [n]; NaN where the model gave no answer (no tumour found).
        uncertainty: float [n], or None where the file has none.
        abstained: bool [n], the model answered but asked to be ignored.
        slice_patient: int [m], index into patient_id of each slice-level prediction; m may be 0.
        slice_probability: float [m].
        unknown: patients left out because their IDH status is unknown.
    """

    patient_id: np.ndarray
    idh: np.ndarray
    probability: np.ndarray
    uncertainty: np.ndarray | None
    abstained: np.ndarray
    slice_patient: np.ndarray
    slice_probability: np.ndarray
    unknown: int

    @property
    def answered(self) -> np.ndarray:
        """bool [n]: the model gave a probability."""
        return ~np.isnan(self.probability)

    @property
    def both_classes(self) -> bool:
        """Whether an AUROC exists."""
        return len(set(self.idh[self.answered].tolist())) == 2

    def only(self, patients: np.ndarray) -> ModelPredictions:
        """The patient-level answers for some of the patients, without slices."""
        kept = np.isin(self.patient_id, patients)
        return ModelPredictions(
            self.patient_id[kept],
            self.idh[kept],
            self.probability[kept],
            None if self.uncertainty is None else self.uncertainty[kept],
            self.abstained[kept],
            np.zeros(0, dtype=int),
            np.zeros(0),
            self.unknown,
        )


def read_predictions(
    path: Path, column: str = "probability", truth: dict[str, int] | None = None
) -> pd.DataFrame:
    """A predictions table with checked cells; `slice` is NaN in patient-level rows.

    Columns patient_id, idh (1, 0 or empty), probability (0 to 1); optional slice, model, subset,
    status and any other. A probability may be empty only where status says no_tumor.

    Args:
        column: where the probabilities stand, if not in `probability`.
        truth: patient_id -> idh, for a file that has no column idh.

    Raises:
        BadInput: unreadable, a column missing, a cell that cannot be, a patient twice, or one with
            two IDH statuses.
    """
    table = _read(path, ("patient_id", column) if truth is not None else (*REQUIRED[:2], column))
    table["probability"] = table[column]
    if truth is not None and "idh" not in table:
        table["idh"] = table["patient_id"].map(truth)
    for name, default in (("model", ""), ("subset", ""), ("status", Status.OK.value)):
        table[name] = table[name].fillna(default) if name in table else default
    table["idh"] = _one_of(table, "idh", path, (0, 1))
    table["probability"] = _numbers(table, "probability", path, "give P(IDH mutant), 0 to 1")
    outside = ~table["probability"].between(0, 1) & table["probability"].notna()
    _refuse(table, outside, "probability", path, "is no probability", "give P(IDH mutant), 0 to 1")
    missing = table["probability"].isna() & (table["status"] != Status.NO_TUMOR.value)
    _refuse(table, missing, "probability", path, "is missing",
            "give a probability, or status no_tumor")  # fmt: skip
    if "slice" not in table:
        table["slice"] = np.nan
    table["slice"] = _numbers(table, "slice", path, "number the slices")
    _check_patients(table, path)
    return table


def _read(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise BadInput(path, "no such file", "give the path of a CSV file")
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str), skipinitialspace=True)
    except (ValueError, UnicodeDecodeError) as error:
        first = (str(error).splitlines() or ["empty"])[0]
        raise BadInput(path, f"not a readable CSV ({first})", "save it as UTF-8 CSV") from None
    for name in required:
        if name not in table.columns:
            near = difflib.get_close_matches(name, [str(c) for c in table.columns], n=1)
            remedy = f"rename column '{near[0]}' to '{name}'" if near else f"add a column '{name}'"
            raise BadInput(path, f"required column '{name}' is missing", remedy)
    if table.empty:
        raise BadInput(path, "no rows", "add one row a patient")
    nameless = table["patient_id"].isna() | (table["patient_id"].fillna("").str.strip() == "")
    _refuse(table, nameless, "patient_id", path, "is empty", "name the patient")
    return table


def _read_patients(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    """A table with one row per patient."""
    table = _read(path, required)
    twice = table.duplicated("patient_id")
    _refuse(table, twice, "patient_id", path, "stands in two rows", "keep one row a patient")
    return table


def _numbers(table: pd.DataFrame, column: str, path: Path, remedy: str) -> pd.Series:
    import pandas as pd

    numbers = pd.to_numeric(table[column], errors="coerce").astype(float)
    words = numbers.isna() & table[column].notna() | np.isinf(numbers)
    _refuse(table, words, column, path, "is not a number", remedy)
    return numbers


def _one_of(table: pd.DataFrame, column: str, path: Path, allowed: tuple[int, ...]) -> pd.Series:
    """The numbers of a column, each one of `allowed` or NaN."""
    words = ", ".join(map(str, allowed))
    numbers = _numbers(table, column, path, f"give {words}, or nothing")
    odd = ~numbers.isin(allowed) & numbers.notna()
    _refuse(table, odd, column, path, f"is not one of {words}", f"give {words}, or nothing")
    return numbers


def _refuse(
    table: pd.DataFrame, bad: pd.Series, column: str, path: Path, problem: str, remedy: str
) -> None:
    if not bad.any():
        return
    index = int(np.argmax(bad.to_numpy()))
    cell = table[column].iloc[index]
    value = f"'{cell}' " if cell == cell else ""
    others = int(bad.sum()) - 1
    more = f" (and {others} more)" if others else ""
    raise BadInput(f"{path}, row {index + 1}, column {column}", f"{value}{problem}{more}", remedy)


def _check_patients(table: pd.DataFrame, path: Path) -> None:
    twice = table.duplicated(["model", "subset", "patient_id", "slice"])
    _refuse(
        table, twice, "patient_id", path, "stands in two rows", "keep one row a patient and slice"
    )
    known = table.dropna(subset=["idh"]).drop_duplicates(["patient_id", "idh"])
    both = known.loc[known.duplicated("patient_id"), "patient_id"]
    if len(both):
        raise BadInput(
            f"{path}, patient {both.iloc[0]}", "both IDH mutant and wildtype", "mend column idh"
        )


def predictions_of(rows: pd.DataFrame) -> ModelPredictions:
    """One model's answers on one set, from its checked rows.

    A patient with slice rows only gets the mean probability over them (paper); where a
    patient-level row is given, it stands.
    """
    known = rows.dropna(subset=["idh"])
    unknown = rows["patient_id"].nunique() - known["patient_id"].nunique()
    known = known.sort_values(["patient_id", "slice"], na_position="first", kind="stable")
    of_slice = known["slice"].notna().to_numpy()
    names, code = np.unique(known["patient_id"].to_numpy(dtype=str), return_inverse=True)
    probability = known["probability"].to_numpy(dtype=float)
    whole = code[~of_slice]
    patient_probability = _means(code[of_slice], probability[of_slice], len(names))
    patient_probability[whole] = probability[~of_slice]
    idh = np.zeros(len(names), dtype=int)
    idh[code] = known["idh"].to_numpy(dtype=int)
    abstained = np.zeros(len(names), dtype=bool)
    abstained[code[(known["status"] == Status.ABSTAIN.value).to_numpy()]] = True
    seen = of_slice & ~np.isnan(probability)
    return ModelPredictions(
        names,
        idh,
        patient_probability,
        _uncertainty(known, whole, ~of_slice, len(names)),
        abstained,
        code[seen],
        probability[seen],
        int(unknown),
    )


def _means(code: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    sizes = np.bincount(code, minlength=count)
    with np.errstate(invalid="ignore"):
        return np.bincount(code, weights=values, minlength=count) / sizes


def _uncertainty(
    known: pd.DataFrame, whole: np.ndarray, level: np.ndarray, count: int
) -> np.ndarray | None:
    if "uncertainty" not in known.columns or known["uncertainty"][level].isna().all():
        return None
    values = np.full(count, np.nan)
    values[whole] = known["uncertainty"].to_numpy(dtype=float)[level]
    return values


def read_features(path: Path) -> pd.DataFrame:
    """features.csv of the samples, indexed by patient_id, one row a patient.

    Raises BadInput: unreadable, a column missing, or a patient in two rows.
    """
    table = _read_patients(path, ("patient_id", "cohort", "subset", "idh"))
    table["idh"] = _numbers(table, "idh", path, "give 1 (mutant), 0 (wildtype) or nothing")
    return table.set_index("patient_id").sort_index()


def read_carried(path: Path) -> pd.DataFrame:
    """The columns of a validated manifest that mean nothing to us, indexed by patient_id.

    A hospital's own columns: scanner, field strength, protocol.

    Raises BadInput: unreadable, or a patient in two rows.
    """
    table = _read_patients(path, ("patient_id",))
    return table.set_index("patient_id").drop(columns=[*_OURS], errors="ignore")


_OURS = (*(name for name in COLUMNS if name != "patient_id"), "cohort", "subset", "fold")


def check_labels(predictions: pd.DataFrame, features: pd.DataFrame, path: Path) -> None:
    """Refuse predictions whose IDH status is not the one of the features.

    Raises BadInput: a patient without features, or whose two files disagree.
    """
    truth = predictions["patient_id"].map(features["idh"])
    absent = ~predictions["patient_id"].isin(features.index)
    _refuse(predictions, absent, "patient_id", path, "has no row in features.csv",
            "give the samples that were predicted")  # fmt: skip
    differs = (truth != predictions["idh"]) & ~(truth.isna() & predictions["idh"].isna())
    _refuse(predictions, differs, "patient_id", path, "has another idh in features.csv",
            "give the samples that were predicted")  # fmt: skip


PEOPLE = ("age", "sex", "idh", "grade", "codeletion")
"""What a cohort's description is made of."""

_CHOICES = {"idh": (0, 1), "grade": (2, 3, 4), "codeletion": (0, 1)}


def read_people(path: Path) -> pd.DataFrame:
    """PEOPLE of every patient of a manifest, indexed by patient_id; NaN where unknown.

    Ages from 0 to 130 years are taken as they are: a description refuses no patient.

    Raises BadInput: unreadable, patient_id, age or idh missing, a cell that cannot be, or a patient
    in two rows.
    """
    table = _read_patients(path, ("patient_id", "age", "idh"))
    table["age"] = _numbers(table, "age", path, "give the age in years")
    impossible = ~table["age"].between(0, 130) & table["age"].notna()
    _refuse(table, impossible, "age", path, "is no age", "give the age in years")
    for column, allowed in _CHOICES.items():
        if column not in table:
            table[column] = np.nan
        table[column] = _one_of(table, column, path, allowed)
    if "sex" not in table:
        table["sex"] = None
    odd = ~table["sex"].isin(["M", "F"]) & table["sex"].notna()
    _refuse(table, odd, "sex", path, "is not one of M, F", "give M, F, or nothing")
    return table.set_index("patient_id")[list(PEOPLE)].sort_index()
