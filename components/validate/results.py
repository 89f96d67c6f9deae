"""What validation writes: who is accepted, who is not and why, and digests of both."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.cohort.image_checks.facts import ImageFacts
from components.cohort.manifest import (
    COHORT,
    DIGEST_COLUMNS,
    DIGESTS_FILE,
    PATH_COLUMNS,
    ManifestTable,
    Patient,
    as_row,
    bases_file,
    write_rows,
)
from components.core.files import write_json
from components.core.s3 import is_remote
from components.core.tables import write_csv
from components.validate.expectations.cohort_suite import CohortCheck
from components.validate.expectations.suites import FailedExpectation
from components.validate.settings import ValidateSettings
from components.validate.splits import Assignment, splits_digest


@dataclass(frozen=True)
class ManifestCandidate:
    """One manifest row: its key in reports, and the patient where the row could be read."""

    key: str
    cohort: str
    row: int
    patient: Patient | None
    findings: tuple[FailedExpectation, ...]


def make_report(
    tables: Mapping[str, ManifestTable],
    candidates: list[ManifestCandidate],
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
    folder: Path,
    tables: Mapping[str, ManifestTable],
    candidates: list[ManifestCandidate],
    assignments: Mapping[str, Assignment],
    facts: Iterable[ImageFacts],
) -> None:
    """Write quarantine.csv, accepted.csv, accepted.bases.json and images.csv below `folder`.

    Paths in accepted.csv are as their manifest has them; where those manifests lie stands in
    accepted.bases.json alone. The same cohort in another place gives the same accepted.csv.
    images.csv holds the sha256 of each accepted patient's images as they were read.
    """
    accepted, refused = [], []
    for candidate in candidates:
        refusals = [f for f in candidate.findings if f.fatal]
        where = (candidate.key, candidate.cohort, candidate.row)
        refused += [(*where, f.column, f.reason, f.remedy) for f in refusals]
        if not refusals and candidate.patient is not None:
            written = tables[candidate.cohort].rows[candidate.row - 1]
            row = _accepted_row(candidate, assignments)
            accepted.append(row | {n: written.get(n, "") for n in PATH_COLUMNS if n in row})
    columns = ("patient_id", "cohort", "row", "column", "reason", "remedy")
    write_csv(folder / "quarantine.csv", columns, refused)
    write_rows(folder / "accepted.csv", accepted)
    names = {row["patient_id"] for row in accepted}
    images = [(f.patient_id, f.role, f.file_sha256) for f in facts if f.patient_id in names]
    write_csv(folder / DIGESTS_FILE, DIGEST_COLUMNS, [row for row in images if row[2]])
    bases = {
        name: table.base if is_remote(table.base) else str(Path(table.base).resolve())
        for name, table in tables.items()
    }
    write_json(bases_file(folder / "accepted.csv"), bases)


def _accepted_row(
    candidate: ManifestCandidate, assignments: Mapping[str, Assignment]
) -> dict[str, str]:
    assert candidate.patient is not None
    subset, fold = assignments[candidate.key]
    return {
        **as_row(candidate.patient),
        COHORT: candidate.cohort,
        "subset": subset,
        "fold": "" if fold is None else str(fold),
    }


def content_digest(
    candidates: Iterable[ManifestCandidate],
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
        found = images[candidate.key]
        row = _accepted_row(candidate, assignments)
        rows.append(row | {name: found.get(name, "") for name in PATH_COLUMNS if name in row})
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
