"""Many patients of a manifest: a few at a time, each kept as it ends, the bad ones set apart."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from components.cohort.manifest import ManifestTable, Patient, parse_patient, read_table
from components.cohort.table_text import repeats
from components.core.errors import BadInput, Outage
from components.core.files import read_json, require_folder, write_json
from components.core.progress import Progress, silent
from components.core.tables import write_csv
from components.preprocess.cohort import Failure
from components.preprocess.sequences import input_digests
from components.release.inference.request import canary_request
from serving.client.client import ServerTrouble
from serving.predict import Answering, answer_patient
from serving.report.files import PREDICTION_FILE

_LOG = logging.getLogger(__name__)

PREDICTIONS_FILE = "predictions.csv"
QUARANTINE_FILE = "quarantine.csv"
SOURCE_FILE = "source.json"
"""In a patient's folder, written last: what its answer was made from."""

COLUMNS = (
    "patient_id", "status", "probability_idh_mutant", "tumor_volume_ml", "uncertainty", "ood",
    "release", "warnings", "idh_set", "set_level",
)  # fmt: skip


@dataclass(frozen=True)
class BatchResult:
    """How a batch ended.

    Attributes:
        answered: patients with an answer, in any status.
        kept: those of them that an earlier run had answered already.
        quarantined: patients without an answer, why, and how to mend it.
    """

    answered: int
    kept: int
    quarantined: tuple[Failure, ...]


def predict_manifest(
    release: Answering,
    manifest: Path | str,
    out: Path,
    *,
    workers: int = 2,
    progress: Progress = silent,
) -> BatchResult:
    """Answer for every patient of a manifest.

    `out` gets a folder a patient (as `serving.predict.predict_patient` writes it), predictions.csv,
    a row as soon as a patient is answered, and quarantine.csv. A patient whose folder holds an
    answer of the same release to the same files and age is not asked for again.

    Args:
        release: its deadline is each patient's own; shared between threads.
        workers: patients in preparation or at the server at a time.
        progress: called after every patient.

    Raises:
        BadInput: the manifest or `out` cannot be used.
        Outage: the server went away for longer than a patient's deadline; what is answered stays.
    """
    require_folder(out)
    table = read_table(manifest)
    contents = release.contents()
    served = release.ask(canary_request(contents)).release
    out.mkdir(parents=True, exist_ok=True)
    patients, failures = _readable(table)
    kept = answered = 0
    with (out / PREDICTIONS_FILE).open("w", newline="") as stream:
        rows = _Rows(stream)
        for patient, result in _run(release, served, patients, out, workers):
            if isinstance(result, Failure):
                failures.append(result)
            else:
                rows.add(result.content)
                answered, kept = answered + 1, kept + result.kept
            progress(answered + len(failures), len(table.rows), patient.patient_id)
    failures.sort(key=lambda failure: failure.patient_id)
    _write_quarantine(out / QUARANTINE_FILE, failures)
    return BatchResult(answered, kept, tuple(failures))


@dataclass(frozen=True)
class _Done:
    content: dict[str, Any]
    kept: bool


class _Rows:
    """predictions.csv, flushed row by row; a next run writes it anew from the patients' JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", lineterminator="\n")
        self._writer.writeheader()

    def add(self, content: dict[str, Any]) -> None:
        made = content.get("conformal") or {}
        sets = {"idh_set": made.get("idh"), "set_level": made.get("level")}
        self._writer.writerow({**content, **sets, "warnings": " | ".join(content["warnings"])})
        self._stream.flush()


def _readable(table: ManifestTable) -> tuple[list[Patient], list[Failure]]:
    """Patients of the rows that can be read, each id once; and why the others cannot."""
    patients: dict[str, Patient] = {}
    seen: dict[str, str] = {}
    failures = []
    for index, row in enumerate(table.rows):
        try:
            patient = parse_patient(table, index)
        except BadInput as error:
            name = row.get("patient_id") or f"row {index + 1}"
            failures.append(_failure(name, error))
            continue
        reason = repeats(patient.patient_id, seen)
        if reason:
            failures.append(Failure(patient.patient_id, f"row {index + 1}: {reason}", "rename one"))
            continue
        # What a reader drew is no input of a prediction.
        patients[patient.patient_id] = replace(patient, tumor_mask=None)
    return list(patients.values()), failures


def _run(
    release: Answering, served: str, patients: list[Patient], out: Path, workers: int
) -> Iterator[tuple[Patient, _Done | Failure]]:
    pool = ThreadPoolExecutor(workers)
    try:
        jobs: dict[Future[_Done | Failure], Patient] = {
            pool.submit(_one, release, served, patient, out): patient for patient in patients
        }
        for job in as_completed(jobs):
            yield jobs[job], job.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _one(release: Answering, served: str, patient: Patient, out: Path) -> _Done | Failure:
    """One patient's answer; whatever goes wrong is this patient's alone, but for an outage."""
    try:
        return _answer(release, served, patient, out / patient.patient_id)
    except Outage:
        raise
    except BadInput as error:
        return _failure(patient.patient_id, error)
    except ServerTrouble as error:
        return Failure(patient.patient_id, str(error), "run again; answered patients are kept")
    except Exception as error:
        _LOG.exception("patient %s", patient.patient_id)
        kind = type(error).__name__
        return Failure(patient.patient_id, f"our fault: {kind}: {error}", "report it with the log")


def _answer(release: Answering, served: str, patient: Patient, folder: Path) -> _Done:
    files = input_digests(patient, release.contents().plan.sequences)
    source = {"release": served, "age": patient.age, "files": files}
    old = _finished(folder, source)
    if old is not None:
        return _Done(old, kept=True)
    (folder / SOURCE_FILE).unlink(missing_ok=True)
    content = answer_patient(release, patient, folder)
    write_json(folder / SOURCE_FILE, {**source, "release": content["release"]})
    return _Done(content, kept=False)


def _finished(folder: Path, source: dict[str, Any]) -> dict[str, Any] | None:
    try:
        if read_json(folder / SOURCE_FILE) != source:
            return None
        content: dict[str, Any] = read_json(folder / PREDICTION_FILE)
    except (OSError, ValueError):
        return None
    return content


def _failure(name: str, error: BadInput) -> Failure:
    return Failure(name, f"{error.subject}: {error.problem}", error.remedy)


def _write_quarantine(path: Path, failures: list[Failure]) -> None:
    rows = ((f.patient_id, f.reason, f.remedy) for f in failures)
    write_csv(path, ("patient_id", "reason", "remedy"), rows)
