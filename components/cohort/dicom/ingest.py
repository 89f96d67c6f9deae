"""A hospital's DICOM export -> NIfTI files, a manifest, and a table of what was chosen and why."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from components.cohort.dicom.convert import convert
from components.cohort.dicom.headers import read_instances
from components.cohort.dicom.identity import IdentifiedPatient, Register
from components.cohort.dicom.selection.sequence_type import clean_description, has_agent
from components.cohort.dicom.selection.series_choice import (
    SeriesCandidate,
    best_study,
    candidates_of,
    parse_choices,
    refuse_doubtful,
    with_choice,
)
from components.cohort.dicom.slice_order import order_stack
from components.cohort.images import write_image
from components.cohort.manifest import FLAGS, Patient, write_manifest
from components.core.errors import BadInput
from components.core.files import read_json, write_json
from components.core.progress import Progress
from components.core.tables import write_csv
from components.core.vocabulary import Sequence, Sex


@dataclass(frozen=True)
class SeriesDecision:
    """One series in the table of choices; a row of series.csv.

    Attributes:
        study: 1 for the patient's first study, and so on; no date.
        words: the technical words of the description; the rest may hold a name.
        sequence: what the series is; empty for what is not used.
        chosen: "yes" for the series that became the image.
    """

    patient_id: str
    study: int
    series: int
    words: str
    images: int
    tr_ms: str
    te_ms: str
    ti_ms: str
    contrast: str
    sequence: str
    chosen: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Ingested:
    """What `ingest` wrote.

    Attributes:
        chosen: series.csv, a SeriesDecision a row.
        identities: who is who; None when the patients kept their identifiers.
        complete: patients with all three sequences; other_files: files that are no DICOM
            image, or damaged.
    """

    manifest: Path
    chosen: Path
    identities: Path | None
    patients: int
    complete: int
    other_files: int


def ingest(
    root: Path,
    out: Path,
    *,
    site: str = "hospital",
    keep_ids: bool = False,
    key: bytes | None = None,
    choose: Iterable[str] = (),
    progress: Progress | None = None,
) -> Ingested:
    """Turn every patient below `root` into NIfTI files below `out`, with a manifest.

    Patients are told apart by PatientID (case, spaces and leading zeros aside), by birth date and
    sex where one stands for several persons, now or in an earlier call, and by study where nothing
    else tells. They get new identifiers (P0001, P0002 ...), kept in `out`-identities.csv BESIDE
    `out`, so that a later call gives a patient the same one; what is uncertain about them stands in
    the manifest's flags; of the headers only age and sex go into the manifest. One study a patient
    is taken: the first that has all three sequences in usable volumes, or the most. Every patient
    has a row, whatever is missing.

    Args:
        site: the manifest's site column.
        keep_ids: PatientID is a pseudonym already; use it.
        key: identifiers are a keyed hash of PatientID, year of birth and sex instead of a count:
            the same key gives a patient the same one in any export that tells these.
        choose: "PATIENT:SEQUENCE=SERIES" takes a series (by number) where the headers do not tell.

    Raises:
        BadInput: no such folder, no DICOM in it, or as Register does.
    """
    if not root.is_dir():
        raise BadInput(root, "no such folder", "give the folder of a DICOM export")
    images, others = read_instances(path for path in sorted(root.rglob("*")) if path.is_file())
    if not images:
        raise BadInput(root, "no DICOM image in it", "give the folder of a DICOM export")
    chosen_by_hand = parse_choices(choose)
    register = Register(out, key=key, keep_ids=keep_ids)
    identified = register.identify(images)
    patients, choices = [], []
    for done, person in enumerate(identified, start=1):
        patient, rows = _ingest_patient(person, site, out, chosen_by_hand)
        patients.append(patient)
        choices.extend(rows)
        if progress:
            progress(done, len(identified), person.name)
    _write_rows(out / "series.csv", choices)
    write_manifest(out / "manifest.csv", patients)
    complete = sum(all(p.path_of(sequence) for sequence in Sequence) for p in patients)
    return Ingested(
        out / "manifest.csv", out / "series.csv", register.table, len(patients), complete, others
    )


def _ingest_patient(
    person: IdentifiedPatient,
    site: str,
    out: Path,
    by_hand: Mapping[tuple[str, Sequence], int],
) -> tuple[Patient, list[SeriesDecision]]:
    name = person.name
    found = candidates_of(person.images)
    found = [with_choice(candidate, name, by_hand) for candidate in found]
    study = best_study(found)
    chosen: dict[Sequence, SeriesCandidate] = {}
    problems: dict[SeriesCandidate, BadInput] = {}
    notes: dict[SeriesCandidate, str] = {}
    for sequence in Sequence:
        fitting = [c for c in found if (c.verdict.sequence, c.study) == (sequence, study)]
        target = out / name / f"{sequence.value}.nii.gz"
        for candidate in sorted(fitting, key=lambda c: c.rank):
            try:
                refuse_doubtful(candidate, name)
                notes[candidate] = _write(candidate, target)
            except BadInput as error:
                problems[candidate] = error
                continue
            chosen[sequence] = candidate
            break
        else:
            target.unlink(missing_ok=True)
    rows = [_row(name, c, study, chosen, problems, notes) for c in found]
    first = next(c.images[0] for c in found if c.study == study)
    paths = {s: str((out / name / f"{s.value}.nii.gz").resolve()) for s in chosen}
    patient = Patient(
        patient_id=name,
        site=site,
        t1c=paths.get(Sequence.T1C),
        t2=paths.get(Sequence.T2),
        flair=paths.get(Sequence.FLAIR),
        age=first.age,
        sex=Sex(first.sex) if first.sex in ("M", "F") else None,
        extra={FLAGS: "; ".join(person.flags)} if person.flags else {},
    )
    return patient, rows


def _write(candidate: SeriesCandidate, target: Path) -> str:
    """Convert a candidate to `target`, unless that was done; returns a note for the table."""
    subject = f"series {candidate.images[0].number}"
    ordered, notes = order_stack(subject, candidate.images)
    made = [f"{image.uid} {image.path.stat().st_size}" for image in ordered]
    digest = hashlib.sha256("\n".join(made).encode()).hexdigest()
    record = target.parent / "ingested.json"
    done = read_json(record) if record.is_file() else {}
    if done.get(target.name) != digest or not target.is_file():
        write_image(target, convert(subject, ordered))
        write_json(record, {**done, target.name: digest})
    return "; ".join(notes)


def _row(
    name: str,
    candidate: SeriesCandidate,
    study: int,
    chosen: dict[Sequence, SeriesCandidate],
    problems: dict[SeriesCandidate, BadInput],
    notes: dict[SeriesCandidate, str],
) -> SeriesDecision:
    first, verdict, problem = candidate.images[0], candidate.verdict, problems.get(candidate)
    taken = chosen.get(verdict.sequence) if verdict.sequence else None
    reason, remedy = verdict.reason, ""
    if problem is not None:
        reason, remedy = f"{reason}; refused: {problem.problem}", problem.remedy
    elif taken is candidate:
        reason = "; ".join(part for part in (reason, notes[candidate]) if part)
    elif verdict.sequence and candidate.study != study:
        reason = f"{reason}; study {study} was taken"
    elif taken is not None:
        reason = f"{reason}; series {taken.images[0].number} was preferred"
    return SeriesDecision(
        patient_id=name,
        study=candidate.study,
        series=first.number,
        words=clean_description(first.description),
        images=len(candidate.images),
        tr_ms=_number(first.tr),
        te_ms=_number(first.te),
        ti_ms=_number(first.ti),
        contrast="yes" if has_agent(first) else "",
        sequence=verdict.sequence.value if verdict.sequence else "",
        chosen="yes" if taken is candidate else "",
        reason=reason,
        remedy=remedy,
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _write_rows(path: Path, rows: list[SeriesDecision]) -> None:
    write_csv(path, [f.name for f in fields(SeriesDecision)], map(vars, rows))
