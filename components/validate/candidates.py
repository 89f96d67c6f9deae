"""The rows of all manifests: patients whose images are judged, and rows refused as they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components.cohort.manifest import ManifestTable, Patient, parse_patient, read_table
from components.cohort.table_text import normal_id, repeats
from components.core.errors import BadInput
from components.core.vocabulary import DEVELOPMENT, Split
from components.validate.expectations.suites import FailedExpectation
from components.validate.results import ManifestCandidate


@dataclass(frozen=True)
class Candidates:
    """The manifests as read, by cohort, and every row of them, in their order."""

    tables: dict[str, ManifestTable]
    candidates: list[ManifestCandidate]

    @property
    def patients(self) -> list[Patient]:
        """Of the rows that could be read."""
        return [c.patient for c in self.candidates if c.patient is not None]


def read_candidates(cohorts: Mapping[str, str | Path]) -> Candidates:
    """Read the manifests of all cohorts, name -> manifest.

    Raises:
        BadInput: a manifest as a whole cannot be read, or one patient stands in two cohorts or
            splits.
    """
    tables = {name: read_table(path) for name, path in cohorts.items()}
    candidates = [c for name, table in tables.items() for c in _candidates(name, table)]
    _refuse_shared_ids(candidates)
    return Candidates(tables, candidates)


def _candidates(cohort: str, table: ManifestTable) -> list[ManifestCandidate]:
    seen: set[str] = set()
    splits: dict[str, Split | None] = {}
    spelt: dict[str, str] = {}
    found = []
    for row in range(len(table.rows)):
        key = f"row {row + 1}" if cohort == DEVELOPMENT else f"{cohort}, row {row + 1}"
        patient: Patient | None = None
        problem: tuple[FailedExpectation, ...] = ()
        try:
            patient = parse_patient(table, row)
        except BadInput as error:
            column = error.subject.rpartition("column ")[2]
            name = table.rows[row].get("patient_id", "")
            key = _usable(name, seen) or key
            repeats(name, spelt)
            problem = (
                FailedExpectation(key, column, f"{column}: {error.problem}", error.remedy, True),
            )
        if patient and splits.setdefault(patient.patient_id, patient.split) != patient.split:
            raise BadInput(
                f"patient {patient.patient_id}", "stands in two splits", "give each patient one row"
            )
        if patient is not None:
            reason = repeats(patient.patient_id, spelt)
            if reason:
                remedy = "give each patient one row"
                problem = (FailedExpectation(key, "patient_id", reason, remedy, True),)
                patient = None
            else:
                key = patient.patient_id
        seen.add(key)
        found.append(ManifestCandidate(key, cohort, row + 1, patient, problem))
    return found


def _usable(name: str, seen: set[str]) -> str | None:
    return name if name and name not in seen else None


def _refuse_shared_ids(candidates: list[ManifestCandidate]) -> None:
    homes: dict[str, tuple[str, str]] = {}
    for candidate in candidates:
        if candidate.patient is None:
            continue
        name = candidate.patient.patient_id
        first, home = homes.setdefault(normal_id(name), (name, candidate.cohort))
        if home != candidate.cohort:
            raise BadInput(
                f"patient {name}" if first == name else f"patients {first} and {name}",
                f"stands in cohort '{home}' and in cohort '{candidate.cohort}'",
                "keep each patient in one cohort",
            )
