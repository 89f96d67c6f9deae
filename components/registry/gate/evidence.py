"""What a verdict rests on: predictions a patient, headline figures, who was learnt from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.cohort.manifest import COLUMNS, DIGESTS_FILE, IMAGE_COLUMNS, read_table
from components.core.errors import BadInput
from components.core.files import read_json
from components.core.tables import read_csv
from components.core.vocabulary import FEATURE_NAMES, LEARNT, Idh, Model
from components.evaluate.statistics.metrics import auprc, auroc

if TYPE_CHECKING:
    import pandas as pd

MANIFEST_COLUMNS = (*COLUMNS, "cohort", "subset", "fold")
"""Columns that leave the site; a user's extra columns may name the patient and stay behind."""

_THRESHOLD = 0.5
_DECIMALS = 6


@dataclass(frozen=True)
class Scores:
    """One model's answers for the patients of one test set whose IDH status is known.

    idh int [n], probability float [n] of IDH mutant; attribute columns are in `table`.
    """

    table: pd.DataFrame

    @property
    def idh(self) -> np.ndarray:
        """Truth, int [n]."""
        return self.table["idh"].to_numpy(dtype=int)

    @property
    def probability(self) -> np.ndarray:
        """P(IDH mutant), float [n]."""
        return self.table["probability"].to_numpy(dtype=float)

    @property
    def correct(self) -> np.ndarray:
        """bool [n]: probability >= 0.5 agrees with the truth (paper)."""
        return (self.probability >= _THRESHOLD) == (self.idh == Idh.MUTANT)

    @property
    def both_classes(self) -> bool:
        """Whether an AUROC exists."""
        return len(set(self.idh.tolist())) == 2


def read_run_predictions(path: Path) -> pd.DataFrame:
    """Patient-level rows of a predictions.csv, with the test set's name in `set`.

    Raises BadInput: a column is missing, or a patient stands twice for one model.
    """
    import pandas as pd

    table = pd.read_csv(path, dtype={"patient_id": str, "slice": str, "site": str})
    needed = {"patient_id", "cohort", "subset", "idh", "model", "slice", "probability"}
    if missing := sorted(needed - set(table.columns)):
        raise BadInput(path, f"no column '{missing[0]}'", "run the classify step again")
    table = table[table["slice"].isna() & ~table["subset"].isin(LEARNT)].copy()
    table["set"] = table["subset"]
    if table.duplicated(["patient_id", "model", "set"]).any():
        raise BadInput(path, "a patient stands twice for one model", "run the classify step again")
    return table.sort_values(["set", "model", "patient_id"], ignore_index=True)


def scores(predictions: pd.DataFrame, name: str, model: Model) -> Scores:
    """Answers of `model` on test set `name`; patients without truth or answer are left out."""
    rows = predictions[(predictions["set"] == name) & (predictions["model"] == model.value)]
    return Scores(rows.dropna(subset=["idh", "probability"]).reset_index(drop=True))


def headline(predictions: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Test set -> patients, dice {mean, sd} and per model accuracy, auroc, auprc, from the rows."""
    return {str(name): _headline_of(predictions, str(name)) for name in predictions["set"].unique()}


def _headline_of(predictions: pd.DataFrame, name: str) -> dict[str, Any]:
    block: dict[str, Any] = {}
    for model in Model:
        found = scores(predictions, name, model)
        if len(found.table):
            block[model.value] = {
                "accuracy": float(found.correct.mean()),
                "auroc": auroc(found.idh, found.probability) if found.both_classes else None,
                "auprc": auprc(found.idh, found.probability) if found.idh.any() else None,
            }
    of_set = predictions[predictions["set"] == name].drop_duplicates("patient_id")
    dice = of_set["dice"].dropna().to_numpy(dtype=float) if "dice" in of_set else np.array([])
    block["patients"] = len(of_set)
    block["dice"] = {
        "mean": float(dice.mean()) if dice.size else None,
        "sd": float(dice.std(ddof=1)) if dice.size > 1 else None,
    }
    return block


def evaluated_sets(evaluation: Path) -> dict[str, Any]:
    """The "sets" block of the evaluation.json in a folder."""
    return read_json(evaluation / "evaluation.json").get("sets", {})


def public_manifest(accepted: Path) -> list[dict[str, str]]:
    """Rows of accepted.csv that may leave the site: known columns, images as their sha256.

    An image cell becomes "sha256:<hex>", of the bytes that validation read, or "unread" where the
    profile does not use it.

    Raises BadInput: the digests that validation writes beside accepted.csv are not there.
    """
    try:
        read = read_csv(accepted.with_name(DIGESTS_FILE))
    except OSError as error:
        raise BadInput(
            accepted.with_name(DIGESTS_FILE),
            f"cannot be read ({error})",
            "run the validation again",
        ) from None
    digests = {(row["patient_id"], row["image"]): f"sha256:{row['sha256']}" for row in read}

    def cell(row: Mapping[str, str], name: str) -> str:
        if name not in IMAGE_COLUMNS or not row[name]:
            return row[name]
        return digests.get((row["patient_id"], name), "unread")

    rows = read_table(accepted).rows
    return [{name: cell(row, name) for name in MANIFEST_COLUMNS if name in row} for row in rows]


def leaks(
    manifest: Iterable[dict[str, str]], features: Iterable[dict[str, str]], tested: set[str]
) -> list[str]:
    """Sentences about patients that were both learnt from and tested on.

    A development patient with a cross-validation fold is tested by a model that did not see its
    fold, so only its twins in other folds count. Twins share an image's bytes, or all features.
    """
    groups: dict[str, set[str]] = {}
    owners: dict[str, set[str]] = {}
    for row in manifest:
        groups.setdefault(row["patient_id"], set()).add(_group(row))
        for name in IMAGE_COLUMNS[:3]:
            if row.get(name, "").startswith("sha256:"):
                owners.setdefault(row[name], set()).add(row["patient_id"])
    for row in features:
        key = "|".join(_rounded(row.get(name, "")) for name in FEATURE_NAMES)
        if key.strip("|"):
            owners.setdefault(key, set()).add(row["patient_id"])
    return sorted(_same_patient(groups, tested) | _twins(owners, groups, tested))


def _same_patient(groups: dict[str, set[str]], tested: set[str]) -> set[str]:
    found = {
        f"{patient} stands in {' and '.join(sorted(places))}"
        for patient, places in groups.items()
        if len(places) > 1
    }
    learnt = {p for p, places in groups.items() if places & set(LEARNT)}
    return found | {f"{patient} was learnt from and tested on" for patient in learnt & tested}


def _twins(owners: dict[str, set[str]], groups: dict[str, set[str]], tested: set[str]) -> set[str]:
    found = set()
    for patients in owners.values():
        places = {place for patient in patients for place in groups.get(patient, ())}
        learnt = places & set(LEARNT) or any(place.startswith("fold") for place in places)
        if len(patients) > 1 and len(places) > 1 and learnt and patients & tested:
            found.add(f"{' and '.join(sorted(patients))} are one patient under several names")
    return found


def _group(row: dict[str, str]) -> str:
    fold, subset = row.get("fold", ""), row.get("subset", "")
    return f"fold {fold}" if fold and subset in LEARNT else subset


def _rounded(cell: str) -> str:
    return f"{float(cell):.{_DECIMALS}g}" if cell else ""
