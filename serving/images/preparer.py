"""Image files to a prepared case, by way of a process that may be killed."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from components.cohort.prepared import PreparedCase, read_case
from components.core.errors import BadInput
from components.core.files import read_json
from components.core.imaging.grid import Grid
from components.preprocess.plan import PreprocessingPlan
from components.release.prediction import Reason
from components.release.settings import RequestLimits
from serving.images.unpack import MIB, decoded
from serving.images.worker import OUTCOME_FILE, PATIENT_ID, SENT, SMALLER, End, Job

log = logging.getLogger(__name__)

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""A process with threads of a library cannot be forked safely."""


class PreparationFailed(RuntimeError):
    """Our own fault: the preparation stumbled where no input was found to be bad."""


@dataclass(frozen=True)
class Prepared:
    """What became of one request's files.

    Attributes:
        case: the prepared patient; None where the preparation abstains.
        native: the T1C's own grid.
        files: tensor name -> sha256 (hex) of the file.
        dicom: whether the T1C is a DICOM series.
        abstains: why nothing can be said of this patient; None where something can.
    """

    case: PreparedCase | None
    native: Grid
    files: dict[str, str]
    dicom: bool
    abstains: Reason | None = None


class Preparer:
    """Prepares requests one at a time, in processes forked from serving.images.worker.

    Args:
        plan: the release's.
        limits: see RequestLimits.
    """

    def __init__(self, plan: PreprocessingPlan, limits: RequestLimits) -> None:
        self._plan, self._limits = plan, limits
        self._worker: subprocess.Popen[str] | None = None
        self._started()

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.communicate()
            self._worker = None

    def prepare(self, sent: Mapping[str, bytes], age: float) -> Prepared:
        """Unpack and prepare one request.

        Args:
            sent: tensor name (of a sequence, or brain_mask) -> the file's bytes, or their base64.
            age: years.

        Raises:
            BadInput: its subject is the tensor at fault, or "images" for all of them.
            PreparationFailed: see there.
        """
        files = {name: self._within(name, content) for name, content in sent.items()}
        with tempfile.TemporaryDirectory(prefix="glioflow-prepare-") as scratch:
            folder = Path(scratch)
            for name, content in files.items():
                (folder / (name + SENT)).write_bytes(content)
            self._run(Job(folder=scratch, names=tuple(sorted(files)), age=age))
            digests = {name: hashlib.sha256(each).hexdigest() for name, each in files.items()}
            return _outcome(folder, digests)

    def rehearse(self) -> None:
        """All of `prepare` but for the work on images.

        Raises:
            PreparationFailed: it cannot be done: no process, no memory, no disk.
        """
        with tempfile.TemporaryDirectory(prefix="glioflow-prepare-") as scratch:
            try:
                self._run(Job(folder=scratch, names=(), age=0.0))
            except BadInput as error:
                raise PreparationFailed(f"preparation: {error.problem}") from None

    def _within(self, name: str, content: bytes) -> bytes:
        """A file's own bytes, if they are not too many, as base64 or decoded."""
        most = self._limits.file_mb * MIB
        if len(content) <= most * 4 // 3 + 4:
            content = decoded(content)
            if len(content) <= most:
                return content
        raise BadInput(name, f"more than {self._limits.file_mb} MiB", SMALLER)

    def _run(self, job: Job) -> None:
        worker = self._started()
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(job.model_dump_json() + "\n")
        worker.stdin.flush()
        said = worker.stdout.readline()
        if not said:
            self.close()
            raise PreparationFailed("preparation: its process ended")
        end = End.model_validate_json(said)
        if end.late:
            seconds = f"{self._limits.seconds:g}"
            raise BadInput("images", f"not prepared within {seconds} s", SMALLER)
        if not (Path(job.folder) / OUTCOME_FILE).is_file():
            problem = f"what reads them ended with code {end.code}"
            raise BadInput("images", problem, "export them again")

    def _started(self) -> subprocess.Popen[str]:
        if self._worker is None or self._worker.poll() is not None:
            # Not by multiprocessing: within Triton's stub, which runs isolated, it would start a
            # Python without PYTHONPATH.
            self._worker = subprocess.Popen(
                [sys.executable, "-m", "serving.images.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **_ONE_THREAD},
                text=True,
            )
            assert self._worker.stdin is not None
            for settings in (self._plan, self._limits):
                self._worker.stdin.write(settings.model_dump_json() + "\n")
            self._worker.stdin.flush()
        return self._worker


def _outcome(folder: Path, files: dict[str, str]) -> Prepared:
    found = read_json(folder / OUTCOME_FILE)
    if "problem" in found:
        raise BadInput(found["subject"], found["problem"], found["remedy"])
    if "ours" in found:
        log.error("preparation: %s", found["ours"])
        raise PreparationFailed(f"preparation: {found['ours'].splitlines()[0]}")
    case = None
    reason = Reason(**found["abstains"]) if found["abstains"] else None
    if reason is None:
        kept = read_case(folder / PATIENT_ID)
        # Copied out of the memory map: its file goes with the folder.
        case = replace(kept, volumes=np.array(kept.volumes))
    return Prepared(case, Grid.from_json(found["native"]), files, found["dicom"], reason)
