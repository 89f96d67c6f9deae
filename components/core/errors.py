"""The two kinds of failure a user can meet, and the exit codes they end in."""

from __future__ import annotations

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


class Outage(BadInput):
    """What concerns no single patient: a server that is away, a full disk.

    Nobody is quarantined for it; the run stops, and goes on from there when it is mended.
    """
