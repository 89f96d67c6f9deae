"""What validation writes: who is accepted, who is not and why, and digests of both."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from components.cohort.manifest import ManifestTable, Patient, write_manifest
from components.cohort.vocabulary import Sequence
from components.validate.cohort_suite import CohortCheck
from components.validate.image_facts import MASK, ImageFacts
from components.validate.settings import ValidateSettings
from components.validate.splits import Assignment, splits_digest
from components.validate.suites import Finding


@dataclass(frozen=True)
class Candidate:
    """One manifest row: its key in reports, and the patient where the row could be read."""

    key: str
    cohort: str
    row: int
    patient: Patient | None
    findings: tuple[Finding, ...]


def make_report(
    tables: Mapping[str, ManifestTable],
    candidates: list[Candidate],
    assignments: Mapping[str, Assignment],
    settings: ValidateSettings,
    checks: list[CohortCheck],
) -> dict[str, Any]:
    """What validation.json holds, but for the digests of the accepted patients."""
    refused = {c.key: c for c in candidates if any(f.fatal for f in c.findings)}
    digests = {name: table.sha256 for name, table in tables.items()}
    return {
        "patients": len(candidates),
        "accepted": len(candidates) - len(refused),
        "quarantined": len(refused),
        "reasons": {k: [f.reason for f in c.findings if f.fatal] for k, c in refused.items()},
        "remedies": {k: [f.remedy for f in c.findings if f.fatal] for k, c in refused.items()},
        "warnings": {
            c.key: [f.reason for f in c.findings if not f.fatal]
            for c in candidates
            if any(not f.fatal for f in c.findings)
        },
        "manifest_sha256": next(iter(digests.values())) if len(digests) == 1 else digests,
        "cohorts": {
            name: {
                "patients": sum(c.cohort == name for c in candidates),
                "quarantined": sum(c.cohort == name for c in refused.values()),
            }
            for name in tables
        },
        "cohort_checks": [asdict(check) for check in checks],
        "splits_sha256": splits_digest(assignments),
        "settings": settings.model_dump(mode="json"),
        "leakage": "none",
    }


def write_tables(
    folder: Path, candidates: list[Candidate], assignments: Mapping[str, Assignment]
) -> None:
    """Write quarantine.csv and accepted.csv below `folder`."""
    accepted = []
    with (folder / "quarantine.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["patient_id", "cohort", "row", "column", "reason", "remedy"])
        for candidate in candidates:
            refusals = [f for f in candidate.findings if f.fatal]
            for finding in refusals:
                writer.writerow(
                    [
                        candidate.key,
                        candidate.cohort,
                        candidate.row,
                        finding.column,
                        finding.reason,
                        finding.remedy,
                    ]
                )
            if not refusals and candidate.patient is not None:
                accepted.append(_accepted(candidate, assignments))
    write_manifest(folder / "accepted.csv", accepted)


def _accepted(candidate: Candidate, assignments: Mapping[str, Assignment]) -> Patient:
    assert candidate.patient is not None
    subset, fold = assignments[candidate.key]
    extra = {
        **candidate.patient.extra,
        "cohort": candidate.cohort,
        "subset": subset,
        "fold": "" if fold is None else str(fold),
    }
    return replace(candidate.patient, extra=extra)


def content_digest(
    candidates: Iterable[Candidate],
    assignments: Mapping[str, Assignment],
    facts: Iterable[ImageFacts],
) -> str:
    """sha256 (hex) of the accepted patients, wherever their files lie.

    Taken over the rows of accepted.csv, with the digest of each image's voxels and geometry in
    place of its path: the same cohort on disk and in S3 has the same.
    """
    images: dict[str, dict[str, str]] = defaultdict(dict)
    for fact in facts:
        images[fact.patient_id][fact.role] = fact.digest
    rows = []
    for candidate in candidates:
        if candidate.patient is None or any(f.fatal for f in candidate.findings):
            continue
        row = asdict(_accepted(candidate, assignments))
        for role in (*(s.value for s in Sequence), MASK):
            row[role] = images[candidate.key].get(role, "")
        rows.append(row)
    return hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode()).hexdigest()
