"""A gateway in a process of its own that kills itself, as nobody could foresee, at a given point.

python -m tests.serving.pacs.killed_gateway SETTINGS [MODULE NAME before|after N]
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from serving.pacs.gateway import service
from serving.pacs.gateway.settings import read_settings
from tests.serving.pacs.parts import KnownServer


def arm(module: str, name: str, when: str, number: str) -> None:
    """Kill this process before or after the call of that number."""
    holder: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        holder = getattr(holder, part)
    original, calls = getattr(holder, last), 0

    def armed(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if when == "before" and calls == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **options)
        if when == "after" and calls == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, last, armed)


def main(settings: str, *point: str) -> None:
    """Run until killed."""
    if point:
        arm(*point)
    known = nullcontext(KnownServer())
    service.connect_triton = lambda _: known  # type: ignore[assignment, return-value]
    wanted = read_settings(Path(settings))
    with service.gateway(wanted) as worker:
        service.work(worker, wanted.keep_h, threading.Event())


if __name__ == "__main__":
    main(*sys.argv[1:])
