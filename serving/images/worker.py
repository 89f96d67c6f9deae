"""Preparing requests, each in a process forked from this one, which has everything imported.

Run as `python -m serving.images.worker`: the first line of its input is the plan, the second the
limits, each further one a job; each job's end is a line of its output. A preparation may hang,
crash or swell as it likes: it ends alone.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import resource
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from components.cohort.dicom.headers import read_instances
from components.cohort.images import read_image
from components.cohort.manifest import BRAIN_MASK, Patient
from components.cohort.prepared import write_case
from components.core.errors import BadInput, Implausible
from components.core.files import write_json
from components.core.imaging.grid import Grid
from components.preprocess.brain.deepbet import load_networks
from components.preprocess.patient import prepare_patient
from components.preprocess.plan import PreprocessingPlan
from components.release.prediction import Reason
from components.release.settings import RequestLimits
from serving.images.unpack import MIB, unpack

PATIENT_ID = "unnamed"
"""Who a request is about is never sent."""

OUTCOME_FILE = "outcome.json"
SENT = ".sent"
"""Suffix of a file as it was sent."""

SMALLER = "send smaller images"
_NICE = 10
"""The other models go first: their patients are prepared already."""

_PR_SET_PDEATHSIG = 1
_NO_MEMORY = re.compile(r"alloc|memory", re.IGNORECASE)


class Job(BaseModel):
    """One request.

    Attributes:
        folder: holds what was sent; gets the outcome.
        names: of the tensors that were sent; none in a rehearsal.
        age: years.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    names: tuple[str, ...]
    age: float


class End(BaseModel):
    """How a job's process ended.

    Attributes:
        late: whether it was killed for the time it took.
        code: its exit code; negative: minus the signal that ended it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    late: bool
    code: int | None


def main() -> None:
    """Serve until the input ends."""
    plan = PreprocessingPlan.model_validate_json(sys.stdin.readline())
    limits = RequestLimits.model_validate_json(sys.stdin.readline())
    # Read before the first fork, so that no request waits for them; they are run in forks only.
    load_networks()
    for line in sys.stdin:
        end = _run(Job.model_validate_json(line), plan, limits)
        sys.stdout.write(end.model_dump_json() + "\n")
        sys.stdout.flush()


def _run(job: Job, plan: PreprocessingPlan, limits: RequestLimits) -> End:
    process = multiprocessing.get_context("fork").Process(target=_child, args=(job, plan, limits))
    process.start()
    process.join(limits.seconds)
    late = process.is_alive()
    if late:
        process.kill()
        with suppress(ProcessLookupError):
            # Its group: dcm2niix may run beside it.
            os.killpg(int(process.pid or 0), signal.SIGKILL)
    process.join()
    return End(late=late, code=process.exitcode)


def _child(job: Job, plan: PreprocessingPlan, limits: RequestLimits) -> None:
    """The body of the forked process: writes a case and OUTCOME_FILE into the job's folder."""
    _confine(limits)
    try:
        outcome = _prepare(Path(job.folder), job.names, job.age, plan, limits)
    except BadInput as error:
        outcome = _bad(error, job.folder)
    except Exception as error:
        outcome = _broken(error, limits)
    write_json(Path(job.folder) / OUTCOME_FILE, outcome)


def _confine(limits: RequestLimits) -> None:
    os.setpgid(0, 0)
    # Answers go through the parent's standard output: nothing of ours may.
    os.dup2(2, 1)
    os.nice(_NICE)
    with suppress(OSError):
        # Whatever ends the server ends this too.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    memory, file = limits.memory_mb * MIB, 4 * limits.unpacked_mb * MIB
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file, file))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _prepare(
    folder: Path, names: tuple[str, ...], age: float, plan: PreprocessingPlan, limits: RequestLimits
) -> dict[str, Any]:
    if not names:
        return {}
    paths = {}
    for name in names:
        sent = folder / (name + SENT)
        paths[name] = unpack(sent.read_bytes(), name, folder, limits)
        sent.unlink()
    _check_series(paths, limits)
    mask = {BRAIN_MASK: str(paths.pop(BRAIN_MASK))} if BRAIN_MASK in paths else {}
    t1c, t2, flair = (str(paths[n]) if n in paths else None for n in ("t1c", "t2", "flair"))
    patient = Patient(PATIENT_ID, "", t1c, t2, flair, age=age, extra=mask)
    found: dict[str, Any] = {"dicom": paths["t1c"].is_dir(), "abstains": None}
    try:
        case = prepare_patient(patient, plan, subset="prediction", fold=None, cache=None)
    except Implausible as error:
        native = Grid.of(read_image(paths["t1c"]))
        reason = Reason(check=error.check, sentence=_bad(error, str(folder))["problem"])
        return found | {"native": native.to_json(), "abstains": reason.model_dump()}
    write_case(folder, case)
    return found | {"native": case.native.to_json()}


def _check_series(paths: dict[str, Path], limits: RequestLimits) -> None:
    """What a DICOM series claims to be the size of."""
    for name, path in paths.items():
        if not path.is_dir():
            continue
        images, _ = read_instances(sorted(path.iterdir()))
        if sum(image.size[0] * image.size[1] for image in images) > limits.voxels:
            raise BadInput(name, f"more than {limits.voxels} voxels", "send one series")


def _bad(error: BadInput, folder: str) -> dict[str, str]:
    """An error in the words of the request: tensors for paths, on one line, nobody's name."""

    def said(text: str) -> str:
        text = re.sub(re.escape(folder) + r"/(\w+)(\.nii)?", r"\1", text)
        return " ".join(text.replace(f"patient {PATIENT_ID}, ", "").split())

    subject = said(error.subject).replace(f"patient {PATIENT_ID}", "images")
    problem = said(error.problem).removeprefix(f"{subject}: ")
    return {"subject": subject, "problem": problem, "remedy": said(error.remedy)}


def _broken(error: Exception, limits: RequestLimits) -> dict[str, str]:
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))
    ):
        problem = f"their preparation takes more than {limits.memory_mb} MiB"
        return {"subject": "images", "problem": problem, "remedy": SMALLER}
    if isinstance(error, np.linalg.LinAlgError | RuntimeError):
        # SimpleITK's and numpy's ways to say that nothing in the images leads anywhere.
        problem = "nothing in them that an alignment could hold to"
        return {"subject": "images", "problem": problem, "remedy": "send whole, readable images"}
    # Not its words: they may quote a header.
    frames = traceback.extract_tb(error.__traceback__)
    where = "; ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames[-6:])
    return {"ours": f"{type(error).__name__}\n{where}"}


if __name__ == "__main__":
    main()
