"""How a step tells how far it is: to the terminal of a local run, or to the log of a pod."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

PROGRESS_FILE = "GLIOFLOW_PROGRESS"
"""Environment variable naming the file that gets progress as JSON lines (`glioflow run`)."""

_LOG_EVERY_S = 30.0

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what is being done)."""


def silent(done: int, total: int, what: str = "") -> None:
    """Tell nobody."""


def reporter(step: str) -> Progress:
    """Progress callback for one step of the pipeline.

    With GLIOFLOW_PROGRESS set, every call appends {"step", "done", "total", "what"} to that file;
    otherwise the first, the last, and one call every 30 s are logged.
    """
    path = os.environ.get(PROGRESS_FILE)
    return _to_file(Path(path), step) if path else _to_log(step)


def seconds() -> float:
    """Seconds that this step has taken: since its process was started."""
    import psutil

    return round(time.time() - psutil.Process().create_time(), 1)


def _to_file(path: Path, step: str) -> Progress:
    def report(done: int, total: int, what: str = "") -> None:
        event = {"step": step, "pid": os.getpid(), "done": done, "total": total, "what": what}
        # One write of one short line in append mode: lines of parallel steps never interleave.
        with path.open("a") as stream:
            stream.write(json.dumps(event) + "\n")

    return report


def _to_log(step: str) -> Progress:
    log = logging.getLogger(f"glioflow.{step}")
    last = 0.0

    def report(done: int, total: int, what: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if done in (0, total) or now - last >= _LOG_EVERY_S:
            last = now
            log.info("%d/%d %s", done, total, what)

    return report
