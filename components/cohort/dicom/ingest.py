"""A hospital's DICOM export -> NIfTI files, a manifest, and a table of what was chosen and why."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from components.cohort.dicom.convert import convert
from components.cohort.dicom.headers import Instance, read_instances
from components.cohort.dicom.sequence_type import Verdict, clean_description, has_agent, judge
from components.cohort.dicom.slice_order import order_stack
from components.cohort.images import write_image
from components.cohort.manifest import PATIENT_ID, Patient, write_manifest
from components.core.errors import BadInput
from components.core.files import read_json, write_json
from components.core.progress import Progress
from components.core.tables import write_csv
from components.core.vocabulary import Sequence, Sex


@dataclass(frozen=True)
class Choice:
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
        chosen: series.csv, a Choice a row.
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


@dataclass(frozen=True)
class _Candidate:
    """A series (one echo of it) as judged; `study` counts a patient's studies from 1."""

    images: tuple[Instance, ...]
    verdict: Verdict
    study: int

    @property
    def rank(self) -> tuple[object, ...]:
        """Smaller is better: sure, from the header, original, many slices, early."""
        first = self.images[0]
        return (
            self.verdict.doubtful,
            not self.verdict.by_headers,
            "DERIVED" in first.image_type,
            -len(self.images),
            first.number,
            first.series,
        )


def ingest(
    root: Path,
    out: Path,
    *,
    site: str = "hospital",
    keep_ids: bool = False,
    progress: Progress | None = None,
) -> Ingested:
    """Turn every patient below `root` into NIfTI files below `out`, with a manifest.

    Patients are told apart by PatientID. They get new identifiers (P0001, P0002 ...), kept in
    `out`-identities.csv BESIDE `out`, so that a later call gives a patient the same one; of the
    headers only age and sex go into the manifest. One study a patient is taken: the first that has
    all three sequences, or the most. Every patient has a row, whatever is missing.

    Args:
        site: the manifest's site column.
        keep_ids: PatientID is a pseudonym already; use it.

    Raises:
        BadInput: no such folder, no DICOM in it, or a PatientID that cannot name a folder.
    """
    if not root.is_dir():
        raise BadInput(root, "no such folder", "give the folder of a DICOM export")
    images, others = read_instances(path for path in sorted(root.rglob("*")) if path.is_file())
    if not images:
        raise BadInput(root, "no DICOM image in it", "give the folder of a DICOM export")
    by_patient: dict[str, list[Instance]] = defaultdict(list)
    for image in images:
        # Where PatientID was emptied, the folder below the root tells patients apart.
        by_patient[image.patient or image.path.relative_to(root).parts[0]].append(image)
    identities = None if keep_ids else out.with_name(f"{out.name}-identities.csv")
    names = _kept_names(by_patient) if identities is None else _new_names(by_patient, identities)
    patients, choices = [], []
    for done, (source, name) in enumerate(sorted(names.items(), key=lambda x: x[1]), start=1):
        patient, rows = _ingest_patient(name, site, by_patient[source], out)
        patients.append(patient)
        choices.extend(rows)
        if progress:
            progress(done, len(names), name)
    _write_rows(out / "series.csv", choices)
    write_manifest(out / "manifest.csv", patients)
    complete = sum(all(p.path_of(sequence) for sequence in Sequence) for p in patients)
    return Ingested(
        out / "manifest.csv", out / "series.csv", identities, len(patients), complete, others
    )


def _kept_names(sources: Iterable[str]) -> dict[str, str]:
    for name in sources:
        if not PATIENT_ID.fullmatch(name):
            raise BadInput(
                "PatientID", "one of them cannot be kept as patient_id", "leave out --keep-ids"
            )
    return {name: name for name in sources}


def _new_names(sources: Iterable[str], table: Path) -> dict[str, str]:
    """PatientID -> new identifier; known ones from the table, which is written first of all."""
    known: dict[str, str] = {}
    if table.is_file():
        with table.open(newline="") as stream:
            known = {row["PatientID"]: row["patient_id"] for row in csv.DictReader(stream)}
    for source in sorted(set(sources) - set(known)):
        known[source] = f"P{len(known) + 1:04d}"
    rows = sorted((name, source) for source, name in known.items())
    write_csv(table, ["patient_id", "PatientID"], rows, mode=0o600)
    return {source: known[source] for source in sources}


def _ingest_patient(
    name: str, site: str, images: list[Instance], out: Path
) -> tuple[Patient, list[Choice]]:
    candidates = _candidates(images)
    study = _best_study(candidates)
    chosen: dict[Sequence, _Candidate] = {}
    problems: dict[_Candidate, BadInput] = {}
    notes: dict[_Candidate, str] = {}
    for sequence in Sequence:
        fitting = [c for c in candidates if (c.verdict.sequence, c.study) == (sequence, study)]
        target = out / name / f"{sequence.value}.nii.gz"
        for candidate in sorted(fitting, key=lambda c: c.rank):
            try:
                notes[candidate] = _write(candidate, target)
            except BadInput as error:
                problems[candidate] = error
                continue
            chosen[sequence] = candidate
            break
        else:
            target.unlink(missing_ok=True)
    rows = [_row(name, c, study, chosen, problems, notes) for c in candidates]
    first = next(c.images[0] for c in candidates if c.study == study)
    paths = {s: str((out / name / f"{s.value}.nii.gz").resolve()) for s in chosen}
    patient = Patient(
        patient_id=name,
        site=site,
        t1c=paths.get(Sequence.T1C),
        t2=paths.get(Sequence.T2),
        flair=paths.get(Sequence.FLAIR),
        age=first.age,
        sex=Sex(first.sex) if first.sex in ("M", "F") else None,
    )
    return patient, rows


def _candidates(images: list[Instance]) -> list[_Candidate]:
    """The patient's series, an echo each, in the order of study and series number."""
    studies = sorted({(image.date, image.study) for image in images})
    groups: dict[tuple[str, str, float], list[Instance]] = defaultdict(list)
    for image in images:
        groups[image.study, image.series, round(image.te or 0.0, 1)].append(image)
    found = [
        _Candidate(
            tuple(group), judge(group[0]), 1 + studies.index((group[0].date, group[0].study))
        )
        for group in groups.values()
    ]
    return sorted(found, key=lambda c: (c.study, c.images[0].number, c.images[0].te or 0.0))


def _best_study(candidates: list[_Candidate]) -> int:
    """The first study with all three sequences, or else with the most."""
    sequences: dict[int, set[Sequence]] = defaultdict(set)
    for candidate in candidates:
        found = sequences[candidate.study]
        if candidate.verdict.sequence:
            found.add(candidate.verdict.sequence)
    return min(sequences, key=lambda study: (-len(sequences[study]), study))


def _write(candidate: _Candidate, target: Path) -> str:
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
    candidate: _Candidate,
    study: int,
    chosen: dict[Sequence, _Candidate],
    problems: dict[_Candidate, BadInput],
    notes: dict[_Candidate, str],
) -> Choice:
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
    return Choice(
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


def _write_rows(path: Path, rows: list[Choice]) -> None:
    write_csv(path, [f.name for f in fields(Choice)], map(vars, rows))
