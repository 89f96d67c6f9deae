"""Validation of cohorts: who is accepted, who is quarantined and why; no patient is lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.cohort.image_checks.checks import image_checks
from components.cohort.image_checks.facts import ImageFacts, cohort_facts
from components.cohort.manifest import (
    FLAGS,
    Patient,
    read_table,
)
from components.core.errors import BadInput, refuse_unreachable
from components.core.files import atomic, sha256_file, write_json
from components.core.progress import Progress, silent
from components.core.vocabulary import DEVELOPMENT, Split
from components.validate.candidates import read_candidates
from components.validate.contradictions import contradictions
from components.validate.expectations.checks import patient_checks
from components.validate.expectations.cohort_suite import judge_cohort
from components.validate.expectations.suites import FailedExpectation, failures_by_patient
from components.validate.image_facts import read_facts
from components.validate.leakage import refuse_leakage, repeated_images
from components.validate.report import render_validation
from components.validate.results import ManifestCandidate, content_digest, make_report, write_tables
from components.validate.settings import ValidateSettings
from components.validate.splits import Assignment, assign_development

Home = tuple[str, Split | None]
"""Where a patient belongs: cohort, and the manifest's split."""


@dataclass(frozen=True)
class ValidationResult:
    """What validation found; `report` is what validation.json holds."""

    report: dict[str, Any]
    accepted: Path
    quarantine: Path


def validate_manifest(
    manifest: str | Path,
    settings: ValidateSettings,
    out: Path,
    progress: Progress = silent,
    against: str | Path | None = None,
) -> ValidationResult:
    """Judge one manifest by itself (as a development cohort would be, but of any size)."""
    alone = settings.model_copy(update={"min_development": 0})
    return validate_cohorts({DEVELOPMENT: manifest}, alone, out, progress, against, list_all=True)


def validate_cohorts(
    cohorts: Mapping[str, str | Path],
    settings: ValidateSettings,
    out: Path,
    progress: Progress = silent,
    against: str | Path | None = None,
    *,
    shards: Sequence[Path] = (),
    list_all: bool = False,
) -> ValidationResult:
    """Judge all cohorts of a run and write what `write_tables` does, validation.json and .html.

    accepted.csv holds every accepted patient with three columns more: cohort, subset ("training",
    "tuning", "internal" or the cohort's name) and fold (0-based, or empty).

    Args:
        against: another manifest of the same patients; where the two differ is a warning.
        shards: folders with the facts of all images, see `measure_shard`; measured here without.
        list_all: quarantine patients with unreachable images even where most have one.

    Raises:
        Outage: most patients of a cohort have images that cannot be reached, or S3 is away.
        BadInput: a manifest as a whole cannot be read; the same patient stands in two sets
            (leakage); or too few development patients remain. Nothing is written then.
    """
    read = read_candidates(cohorts)
    tables, candidates, patients = read.tables, read.candidates, read.patients
    second = None if against is None else read_table(against)
    homes = {c.key: (c.cohort, c.patient.split) for c in candidates if c.patient is not None}
    if shards:
        facts = read_facts(shards, patients)
    else:
        facts = cohort_facts(
            patients, settings.sequences, workers=settings.workers, progress=progress
        )
    if not list_all:
        _refuse_unreachable_cohorts(homes, facts)
    findings = _find(patients, homes, facts, settings)
    for finding in contradictions(patients, second) if second else ():
        findings[finding.patient_id].append(finding)
    candidates = [_with(candidate, findings) for candidate in candidates]
    accepted = [c for c in candidates if not any(f.fatal for f in c.findings)]
    assignments = _assign(accepted, settings)
    refuse_leakage({name: subset for name, (subset, _) in assignments.items()}, facts)
    checks = [check for name, table in tables.items() for check in judge_cohort(name, table)]
    report = make_report(tables, candidates, assignments, settings, checks)
    report["manifest_notes"] = {n: list(table.notes) for n, table in tables.items() if table.notes}
    report["against_sha256"] = second.sha256 if second else None
    report["accepted_content_sha256"] = content_digest(candidates, assignments, facts)
    with atomic(out) as folder:
        folder.mkdir()
        write_tables(folder, tables, candidates, assignments, facts)
        report["accepted_sha256"] = sha256_file(folder / "accepted.csv")
        write_json(folder / "validation.json", report)
        page = render_validation(report, [c.patient for c in accepted if c.patient], assignments)
        (folder / "validation.html").write_text(page)
    return ValidationResult(report, out / "accepted.csv", out / "quarantine.csv")


def _refuse_unreachable_cohorts(homes: Mapping[str, Home], facts: list[ImageFacts]) -> None:
    lost: dict[str, dict[str, str]] = defaultdict(dict)
    for fact in facts:
        if fact.unreachable:
            reason = f"{fact.patient_id}, {fact.role}: {fact.error}"
            lost[homes[fact.patient_id][0]].setdefault(fact.patient_id, reason)
    for cohort, reasons in lost.items():
        patients = sum(home == cohort for home, _ in homes.values())
        refuse_unreachable(f"cohort {cohort}", list(reasons.values()), patients)


def _find(
    patients: list[Patient],
    homes: Mapping[str, Home],
    facts: list[ImageFacts],
    settings: ValidateSettings,
) -> dict[str, list[FailedExpectation]]:
    import pandas as pd

    rows = [
        {
            "patient_id": p.patient_id,
            "age": p.age,
            "idh": None if p.idh is None else int(p.idh),
            "tumor_mask": p.tumor_mask,
            "spacing_source": p.extra.get("spacing_source", ""),
            FLAGS: p.extra.get(FLAGS, ""),
        }
        for p in patients
    ]
    found: dict[str, list[FailedExpectation]] = defaultdict(list)
    if rows:
        table = pd.DataFrame(rows).astype({"age": "float64", "idh": "Int64"})
        for finding in failures_by_patient(table, patient_checks(settings)):
            found[finding.patient_id].append(finding)
    if facts:
        for finding in failures_by_patient(
            pd.DataFrame([vars(f) for f in facts]), image_checks(settings, settings.sequences)
        ):
            found[finding.patient_id].append(finding)
    _find_repeated(homes, facts, found)
    return found


def _find_repeated(
    homes: Mapping[str, Home], facts: list[ImageFacts], found: dict[str, list[FailedExpectation]]
) -> None:
    """Quarantine the later of two patients with one image, unless their sets differ: a leak."""
    order = {name: index for index, name in enumerate(homes)}
    for names in repeated_images(facts).values():
        first, *others = sorted(names, key=order.__getitem__)
        for name in others:
            if homes[name] == homes[first]:
                reason = f"the same image as patient {first}"
                remedy = "keep one of the two, under one patient_id"
                finding = FailedExpectation(name, "patient_id", reason, remedy, True)
                if finding not in found[name]:
                    found[name].append(finding)


def _with(
    candidate: ManifestCandidate, findings: Mapping[str, list[FailedExpectation]]
) -> ManifestCandidate:
    if candidate.patient is None:
        return candidate
    own = findings.get(candidate.patient.patient_id, [])
    worst = {(f.column, f.fatal) for f in own if f.fatal}
    # A warning beside a refusal of the same column says nothing new.
    kept = tuple(f for f in own if f.fatal or (f.column, True) not in worst)
    return replace(candidate, findings=kept)


def _assign(accepted: list[ManifestCandidate], settings: ValidateSettings) -> dict[str, Assignment]:
    development = [c.patient for c in accepted if c.patient and c.cohort == DEVELOPMENT]
    labelled = [patient for patient in development if patient.idh is not None]
    if len(labelled) < settings.min_development:
        raise BadInput(
            "cohort development",
            f"{len(labelled)} usable patients with a known IDH status, fewer than "
            f"{settings.min_development}",
            "mend the quarantined patients, or add more",
        )
    assignments = assign_development(development, settings)
    for candidate in accepted:
        if candidate.patient and candidate.cohort != DEVELOPMENT:
            assignments[candidate.key] = (candidate.cohort, None)
    return assignments
