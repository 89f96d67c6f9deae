"""A whole cohort prepared: several at a time, resumed where it stopped, the bad ones set apart."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from components.cohort.manifest import Patient, read_manifest
from components.cohort.prepared import PreparedCase, read_case, write_case
from components.cohort.shards import shard_of
from components.cohort.table_text import repeats
from components.core.device import cores
from components.core.errors import BadInput, Outage, Unreachable, outage_of, refuse_unreachable
from components.core.files import read_json, write_json
from components.core.progress import Progress
from components.core.tables import write_csv
from components.preprocess.patient import mask_to_native, prepare_patient
from components.preprocess.plan import PreprocessingPlan, make_plan
from components.preprocess.quality.checks import write_mosaic
from components.preprocess.sequences import input_digests, refuse_changed
from components.preprocess.settings import PreprocessSettings

_LOG = logging.getLogger(__name__)

SOURCE_FILE = "source.json"
"""In a case's folder: digests of the files and of the plan it was made from."""

MOSAIC_FILE = "mosaic.png"
PLAN_FILE = "plan.json"
FAILED_FILE = "failed.csv"
STAGES_FOLDER = ".stages"
"""Alignments and brain masks, kept for a run with other settings."""

__all__ = ["Failure", "mask_to_native", "prepare_cohort", "prepare_patient", "prepare_shard"]


@dataclass(frozen=True)
class Failure:
    """A patient that could not be prepared, why, and how to mend it."""

    patient_id: str
    reason: str
    remedy: str
    unreachable: bool = False
    """An image was not there, or could not be opened."""


def prepare_cohort(
    patients: Iterable[Patient],
    plan: PreprocessingPlan,
    out: Path,
    *,
    workers: int = 1,
    accept_implausible: bool = False,
    progress: Progress | None = None,
) -> list[Failure]:
    """Prepare patients into `out`, a prepared set; writes plan.json and failed.csv beside it.

    A patient whose case stands there already, made from the same files by the same plan, is
    skipped; where only its manifest row changed, only that is rewritten. A patient that fails is
    listed, and the others go on.

    Raises:
        Outage: an object store or a volume is away; what is prepared stays.

    Args:
        workers: processes, one patient each at a time; 0 takes one a core.
        accept_implausible: see prepare_patient.
        progress: called with (done, total, what) after every patient.
    """
    patients, failures = _distinct(patients)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / PLAN_FILE, plan.model_dump(mode="json"))
    work = partial(_one, plan=plan, out=out, accept_implausible=accept_implausible)
    for done, failure in enumerate(_run(patients, work, workers or cores()), start=1):
        if failure is not None:
            _LOG.warning("patient %s left out: %s", failure.patient_id, failure.reason)
            failures.append(failure)
            lost = [f"{f.patient_id}: {f.reason}" for f in failures if f.unreachable]
            refuse_unreachable("the cohort", lost, done)
        if progress is not None:
            progress(done, len(patients), "patients")
    failures.sort(key=lambda failure: failure.patient_id)
    _write_failed(out / FAILED_FILE, failures)
    return failures


def _distinct(patients: Iterable[Patient]) -> tuple[list[Patient], list[Failure]]:
    """The first row of each patient; and the others, which would replace it."""
    seen: dict[str, str] = {}
    first, failures = [], []
    for patient in patients:
        reason = repeats(patient.patient_id, seen)
        if reason:
            failures.append(Failure(patient.patient_id, reason, "give each patient one row"))
        else:
            first.append(patient)
    return first, failures


def prepare_shard(
    manifest: Path,
    shard: str,
    settings: PreprocessSettings,
    out: Path,
    *,
    progress: Progress | None = None,
) -> list[Failure]:
    """Prepare the rows of a manifest whose 0-based number leaves i when divided by n.

    Args:
        shard: "i/n", with 0 <= i < n.

    Raises:
        BadInput: the manifest or the shard cannot be read.
    """
    _one_torch_thread()
    patients = shard_of(read_manifest(manifest), shard)
    return prepare_cohort(
        patients,
        make_plan(settings),
        out,
        workers=settings.workers,
        accept_implausible=settings.accept_implausible,
        progress=progress,
    )


def _run(
    patients: list[Patient], work: Callable[[Patient], Failure | None], workers: int
) -> Iterator[Failure | None]:
    workers = min(workers, len(patients))
    if workers <= 1:
        yield from map(work, patients)
        return
    # Forked children would inherit ITK's thread pool without its threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_one_torch_thread) as pool:
        jobs = {pool.submit(work, patient): patient for patient in patients}
        for job in as_completed(jobs):
            yield _result(job, jobs[job])


def _one_torch_thread() -> None:
    """Processes share the cores, shards of one run among them; more of them are `workers`.

    The brain's network gives the same bytes on any number of threads.
    """
    import torch

    torch.set_num_threads(1)


def _result(job: Future[Failure | None], patient: Patient) -> Failure | None:
    try:
        return job.result()
    except BrokenProcessPool:
        return Failure(
            patient.patient_id,
            "its process was killed, most likely for want of memory",
            "run again with fewer workers",
        )


def _one(
    patient: Patient, plan: PreprocessingPlan, out: Path, accept_implausible: bool
) -> Failure | None:
    """Prepare one patient into `out`; whatever goes wrong is this patient's alone."""
    try:
        _prepare(patient, plan, out, accept_implausible)
    except Outage:
        raise
    except BadInput as error:
        reason = f"{error.subject}: {error.problem}"
        unreachable = isinstance(error, Unreachable)
        return Failure(patient.patient_id, reason, error.remedy, unreachable)
    except Exception as error:
        outage = outage_of(error) if isinstance(error, OSError) else None
        if outage:
            raise outage from error
        _LOG.exception("patient %s", patient.patient_id)
        kind = type(error).__name__
        return Failure(patient.patient_id, f"our fault: {kind}: {error}", "report it with the log")
    return None


def _prepare(
    patient: Patient, plan: PreprocessingPlan, out: Path, accept_implausible: bool
) -> None:
    subset, fold = assignment(patient)
    folder = out / patient.patient_id
    files = input_digests(patient, plan.sequences)
    source: dict[str, Any] = {"plan": plan.digest(), "files": files}
    if accept_implausible:
        source["accept_implausible"] = True
    old = _kept(folder, source)
    if old is not None:
        case = _with_row(old, patient, subset, fold)
        if case is old:
            return
    else:
        case = prepare_patient(
            patient,
            plan,
            subset=subset,
            fold=fold,
            cache=out / STAGES_FOLDER,
            accept_implausible=accept_implausible,
        )
        refuse_changed(patient, plan.sequences, files)
    write_case(out, case)
    write_mosaic(folder / MOSAIC_FILE, case)
    # Last: a case without it is made again.
    write_json(folder / SOURCE_FILE, source)


def assignment(patient: Patient) -> tuple[str, int | None]:
    """(subset, fold) of a patient: from the columns that validation adds, or from the split."""
    subset = patient.extra.get("subset") or (patient.split.value if patient.split else "training")
    fold = patient.extra.get("fold", "")
    return subset, int(float(fold)) if fold else None


def _kept(folder: Path, source: dict[str, Any]) -> PreparedCase | None:
    try:
        if read_json(folder / SOURCE_FILE) != source:
            return None
        return read_case(folder)
    except (OSError, ValueError, BadInput):
        return None


def _with_row(case: PreparedCase, patient: Patient, subset: str, fold: int | None) -> PreparedCase:
    """The case with what its manifest row says now; the very same object if nothing changed."""
    row: dict[str, Any] = {
        "site": patient.site,
        "subset": subset,
        "fold": fold,
        "age": patient.age,
        "sex": patient.sex,
        "idh": patient.idh,
        "grade": patient.grade,
        "codeletion": patient.codeletion,
        "origin": patient.origin,
    }
    changed = {key: value for key, value in row.items() if getattr(case, key) != value}
    return replace(case, **changed) if changed else case


def _write_failed(path: Path, failures: list[Failure]) -> None:
    rows = ((f.patient_id, f.reason, f.remedy) for f in failures)
    write_csv(path, ("patient_id", "reason", "remedy"), rows)
