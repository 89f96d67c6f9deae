"""Training on all GPUs of a machine, or of several: a process a GPU, started by torchrun.

In one pod `train_here` starts the processes itself. On several nodes Kubeflow's Trainer starts
`torchrun -m components.segment.training.launch --prepared SET --settings FILE --out FOLDER` on
each.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from components.core.device import Device
from components.core.progress import Progress, reporter, silent
from components.segment.settings import SegmentSettings
from components.segment.training.train import train_segmenter

log = logging.getLogger(__name__)


def processes_for(settings: SegmentSettings) -> int:
    """Processes worth starting here: a GPU each, as many as the batch divides over; at least 1."""
    import torch

    if settings.device is Device.CPU or "WORLD_SIZE" in os.environ:
        return 1
    gpus = torch.cuda.device_count()
    return next((n for n in range(gpus, 1, -1) if settings.batch_size % n == 0), 1)


def train_here(
    prepared: Iterable[Path],
    settings: SegmentSettings,
    out: Path,
    *,
    checkpoints: Path | None = None,
    progress: Progress = silent,
    processes: int | None = None,
) -> None:
    """As `train_segmenter`, over every GPU of this machine.

    Args:
        processes: processes to start; by default see `processes_for`. One trains in this process.

    Raises:
        RuntimeError: a process failed; its traceback stands in the log.
    """
    folders = list(prepared)
    number = processes or processes_for(settings)
    if number == 1:
        train_segmenter(folders, settings, out, checkpoints=checkpoints, progress=progress)
        return
    log.info("training with %d processes", number)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "settings.json"
        file.write_text(settings.model_dump_json())
        command = _command(number, folders, file, out, checkpoints)
        with subprocess.Popen(command, start_new_session=True) as child:
            try:
                code = child.wait()
            finally:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGTERM)
    if code:
        raise RuntimeError(f"torchrun ended with code {code}; see the log above")


def _command(
    number: int, prepared: Sequence[Path], settings: Path, out: Path, checkpoints: Path | None
) -> list[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={number}", "-m", "components.segment.training.launch"]
    for folder in prepared:
        command += ["--prepared", str(folder)]
    command += ["--settings", str(settings), "--out", str(out)]
    return command + (["--checkpoints", str(checkpoints)] if checkpoints else [])


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as one of torchrun's processes."""
    parser = argparse.ArgumentParser(prog="components.segment.training.launch", description=__doc__)
    parser.add_argument("--prepared", type=Path, action="append", required=True)
    parser.add_argument("--settings", type=Path, required=True, help="SegmentSettings as JSON")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoints", type=Path)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    leads = int(os.environ.get("RANK", 0)) == 0
    train_segmenter(
        given.prepared,
        SegmentSettings.model_validate_json(given.settings.read_text()),
        given.out,
        checkpoints=given.checkpoints,
        progress=reporter("segment") if leads else silent,
    )


if __name__ == "__main__":
    main()
