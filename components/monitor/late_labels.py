"""IDH status that came after the answer, joined to what was answered."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from components.core.errors import BadInput
from components.core.tables import read_csv
from components.monitor.audit_log import read_entries

KEYS = ("patient_id", "request_id", "input_sha256")
"""Columns by which a label finds its answer; an audit log has the last two alone."""

COLUMNS = ("time", "release", "status", "probability", "idh_set", "set_level")
"""What is known of each answer, beside its keys; time is ISO 8601, or missing."""


@dataclass(frozen=True)
class Unused:
    """A label that was joined to no answer."""

    row: int
    name: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Labelled:
    """Answers with their labels.

    Attributes:
        answers: COLUMNS, `name` (the key's value) and `idh` (1, 0, NaN where not known yet), in the
            order in which they were given.
        key: which of KEYS.
        unused: labels without an answer, or that contradict each other.
    """

    answers: pd.DataFrame
    key: str
    unused: tuple[Unused, ...]


def join_labels(answers: Path, labels: Path) -> Labelled:
    """Join a CSV of labels to an audit log (.jsonl) or to predict-cohort's predictions.csv.

    Args:
        labels: columns idh (1, 0 or empty) and one of KEYS.

    Raises:
        BadInput: a file or a cell cannot be read, both files share none of KEYS, or no label fits.
    """
    table = _audit(answers) if answers.suffix == ".jsonl" else _predictions(answers)
    rows = _rows(labels)
    key = next((k for k in KEYS if k in table and rows and k in rows[0]), None)
    if key is None:
        have = ", ".join(k for k in KEYS if k in table)
        raise BadInput(labels, f"no column to find the answers by ({have})", "add one of them")
    known, unused = _labels(labels, rows, key, set(table[key]))
    if not known and any(row.get("idh") for row in rows):
        raise BadInput(labels, f"no {key} is that of an answer", f"give the answers' own {key}")
    table = table.assign(name=table[key], idh=table[key].map(known).astype("float64"))
    return Labelled(table[["name", *COLUMNS, "idh"]], key, tuple(unused))


def _labels(
    path: Path, rows: list[dict[str, str]], key: str, answered: set[str]
) -> tuple[dict[str, int], list[Unused]]:
    """Key -> IDH of each answered patient, and the labels that cannot be used."""
    found: dict[str, set[int]] = {}
    first: dict[str, int] = {}
    for place, row in enumerate(rows, start=1):
        if cell := (row.get("idh") or "").strip():
            if cell not in ("0", "1"):
                where = f"{path}, row {place}, column idh"
                raise BadInput(where, f"'{cell}' is not one of 0, 1", "give 0, 1, or nothing")
            name = (row[key] or "").strip()
            found.setdefault(name, set()).add(int(cell))
            first.setdefault(name, place)
    unused = []
    for name, values in found.items():
        if name not in answered:
            unused.append(Unused(first[name], name, "no answer was given", f"check the {key}"))
        elif len(values) > 1:
            unused.append(Unused(first[name], name, "both mutant and wildtype", "keep one row"))
    bad = {one.name for one in unused}
    return {name: next(iter(v)) for name, v in found.items() if name not in bad}, unused


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        rows = read_csv(path)
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(path, f"not a readable CSV ({error})", "save it as UTF-8 CSV") from None
    if rows and "idh" not in rows[0]:
        raise BadInput(path, "required column 'idh' is missing", "add a column 'idh'")
    return rows


def _audit(path: Path) -> pd.DataFrame:
    return pd.DataFrame(
        read_entries(path, _answer), columns=["request_id", "input_sha256", *COLUMNS]
    )


def _answer(entry: dict[str, Any]) -> dict[str, Any]:
    made = entry.get("conformal") or {}
    named = {name: entry[name] for name in ("request_id", "input_sha256", "time", "release")}
    return named | {
        "status": entry["status"],
        "probability": entry["probability_idh_mutant"],
        "idh_set": made.get("idh"),
        "set_level": made.get("level"),
    }


def _predictions(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={"patient_id": str, "release": str})
    except (OSError, ValueError) as error:
        first = (str(error).splitlines() or ["empty"])[0]
        remedy = "give predict-cohort's predictions.csv, or an audit log that ends in .jsonl"
        raise BadInput(path, f"not a readable CSV ({first})", remedy) from None
    table = table.rename(columns={"probability_idh_mutant": "probability"})
    for name in ("patient_id", "release", "status", "probability"):
        if name not in table:
            raise BadInput(path, f"column '{name}' is missing", "give predict-cohort's own file")
    numbers = pd.to_numeric(table["probability"], errors="coerce")
    odd = (numbers.isna() & table["probability"].notna()) | ~numbers.fillna(0).between(0, 1)
    if odd.any():
        where = f"{path}, row {int(odd.to_numpy().argmax()) + 1}, column probability"
        raise BadInput(where, "not a probability", "give predict-cohort's own file")
    return table.assign(probability=numbers).reindex(columns=["patient_id", *COLUMNS])
