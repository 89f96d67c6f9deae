"""Child process of a local run: executes the pipeline with KFP's own local runner.

A process of its own, because KFP writes every task's log to stdout and keeps its runner in globals.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

from kfp import local

from components.core.files import read_json, write_json
from pipelines.pipeline import build
from pipelines.profile import Profile


def execute(request: dict[str, Any]) -> dict[str, str]:
    """Run the pipeline of `request` (profile, pipeline_root, arguments); output name -> path."""
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=request["pipeline_root"],
        enable_caching=True,
    )
    run = build(Profile.model_validate(request["profile"]))(**request["arguments"])
    return {name: artifact.path for name, artifact in run.outputs.items()}


def _die_with_parent() -> None:
    """End this process and its steps when the command that started it is gone, even by SIGKILL."""

    def end_group(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.killpg(0, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end_group)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


if __name__ == "__main__":
    _die_with_parent()
    request_file, outputs_file = map(Path, sys.argv[1:3])
    write_json(outputs_file, execute(read_json(request_file)))
