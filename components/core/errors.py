"""The two kinds of failure a user can meet, and the exit codes they end in."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """Process exit codes of every glioflow command."""

    DONE = 0
    OUR_FAULT = 1
    BAD_INPUT = 2


class BadInput(Exception):
    """Input that the user can mend: printed as one line, never as a traceback.

    Args:
        subject: the file, row, column, option or tensor at fault ("cohort.csv, row 3, column age").
        problem: what is wrong with it, with the offending value ("'abc' is not a number").
        remedy: what the user should do ("give the age in years, 18 to 110").
    """

    def __init__(self, subject: object, problem: str, remedy: str) -> None:
        self.subject = str(subject)
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{self.subject}: {problem}; {remedy}")

    def __reduce__(self) -> tuple[type[BadInput], tuple[str, str, str]]:
        # Exceptions are rebuilt from .args when they cross a process pool; ours take three.
        return type(self), (self.subject, self.problem, self.remedy)

    def within(self, whole: str) -> BadInput:
        """The same error, its subject told as part of a whole ("patient P1")."""
        kind, (subject, *rest) = self.__reduce__()
        return kind(f"{whole}, {subject}", *rest)


class Outage(BadInput):
    """What concerns no single patient: a server that is away, a full disk.

    Nobody is quarantined for it; the run stops, and goes on from there when it is mended.
    """


class Unreachable(BadInput):
    """An image that is not there or may not be opened.

    Of one patient that is a fault of the manifest; of most, of the volume: see refuse_unreachable.
    """


class Implausible(BadInput):
    """An intermediate result that no patient's images should give: a brain of 2.6 L.

    Training leaves the patient out; serving abstains, with the reason.

    Args:
        check: machine-readable name of the check that failed ("brain_volume").
    """

    def __init__(self, subject: object, problem: str, remedy: str, check: str = "") -> None:
        super().__init__(subject, problem, remedy)
        self.check = check

    def __reduce__(self) -> tuple[type[Implausible], tuple[str, str, str, str]]:  # type: ignore[override]
        return type(self), (self.subject, self.problem, self.remedy, self.check)


class StepFailed(RuntimeError):
    """A step of a run failed by our fault; the message names the step and the log."""


_STORAGE = {
    errno.ENOSPC: "make room on that disk, then run again",
    errno.EDQUOT: "raise the quota or make room, then run again",
    errno.EFBIG: "make room, or raise the limit of file sizes",
    errno.EROFS: "the volume is mounted read-only: mount it writable, or write elsewhere",
    errno.EIO: "the disk or network drive fails: check it, then run again",
    errno.ESTALE: "the network drive was remounted: check it, then run again",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files (fs.file-max)",
}
"""Error numbers that say something of the machine, and nothing of the file -> what mends it."""


def outage_of(error: OSError, subject: object = "") -> Outage | None:
    """An error of the operating system as an outage; None where it concerns one file alone."""
    remedy = _STORAGE.get(error.errno or 0)
    if remedy is None:
        return None
    return Outage(subject or error.filename or "disk", error.strerror or str(error), remedy)


def denied(error: PermissionError) -> BadInput:
    """What the rights of a file or folder refuse, where a command ends by it."""
    return BadInput(
        error.filename or "a file or folder",
        error.strerror or "permission denied",
        f"give user {os.getuid()} the right, or mount its volume so that it has it (fsGroup)",
    )


_FEWEST_UNREACHABLE = 5
_MOST_UNREACHABLE = 0.5


def refuse_unreachable(subject: str, unreachable: Sequence[str], patients: int) -> None:
    """Tell a volume that is not mounted from patients whose images are missing.

    Args:
        subject: what the patients are of ("cohort snuh").
        unreachable: why, for each patient with an image that could not be reached.
        patients: how many were looked at.

    Raises:
        Outage: five patients or more, and more than half of those looked at, have such an image.
    """
    count = len(unreachable)
    if count >= _FEWEST_UNREACHABLE and count > _MOST_UNREACHABLE * patients:
        raise Outage(
            subject,
            f"images of {count} of {patients} patients cannot be reached ({unreachable[0]})",
            "check that their volume is mounted and readable and that the manifest's paths are "
            "right, or take these rows out; then run again",
        )
