"""A second table of the same patients: where it says otherwise than the manifest."""

from __future__ import annotations

from collections.abc import Iterable

from components.cohort.manifest import ManifestTable, Patient, as_row
from components.validate.expectations.suites import FailedExpectation

COMPARED = ("sex", "idh", "grade", "codeletion")
"""Columns in which two tables must agree. Ages are not: they are taken at different dates."""


def contradictions(patients: Iterable[Patient], other: ManifestTable) -> list[FailedExpectation]:
    """A warning for each cell that both tables fill, and fill differently."""
    rows = {row["patient_id"]: row for row in other.rows}
    found = []
    for patient in patients:
        ours, theirs = as_row(patient), rows.get(patient.patient_id, {})
        for name in COMPARED:
            here, there = ours[name], theirs.get(name)
            if here and there and here != there:
                reason = f"{name} is {here}, but {there} in {other.path.name}"
                remedy = "find out which of the two is right"
                found.append(
                    FailedExpectation(patient.patient_id, name, reason, remedy, fatal=False)
                )
    return found
