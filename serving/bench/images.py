"""How long a request of image files takes: by part, and how many a minute."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.core.files import read_json, write_json
from components.release.inference.local_release import LocalRelease
from components.release.manifest import RELEASE_FILE
from serving.bench.ensemble import in_turn, timed_requests
from serving.client.glioflow_client import ImagesClient
from serving.client.glioflow_client.images import SEQUENCES, ImagesAnswer
from serving.images.case import PREFIX, case_tensors
from serving.images.finish import finish
from serving.images.preparer import Preparer
from serving.triton.server import LocalServer

INSTANCES = (1, 2)
AT_ONCE = 4


class _Parts:
    """The ensemble's work, one part after the other, without Triton."""

    def __init__(self, repository: Path) -> None:
        self._release = LocalRelease(repository)
        self._contents = self._release.contents()
        self._limits = self._release.release.manifest.settings.limits
        self.preparer = Preparer(self._contents.plan, self._limits)
        self.seconds: dict[str, list[float]] = {"prepare": [], "infer": [], "finish": []}

    def ask(self, files: Mapping[str, bytes], age: float) -> None:
        """Answer one request, noting what each part took."""
        marks = [time.perf_counter()]
        tensors = case_tensors(self.preparer.prepare(files, age), self._contents)
        marks.append(time.perf_counter())
        own = {n.removeprefix(PREFIX): t for n, t in tensors.items() if n.startswith(PREFIX)}
        found = self._release.infer(own)
        marks.append(time.perf_counter())
        name = self._release.release.release
        finish({**tensors, **found}, files["t1c"], self._contents, name, self._limits)
        marks.append(time.perf_counter())
        for part, took in zip(self.seconds, np.diff(marks), strict=True):
            self.seconds[part].append(float(took))


def bench_images(
    repository: Path,
    files: Mapping[str, bytes],
    age: float,
    *,
    requests: int = 6,
    instances: Sequence[int] = INSTANCES,
) -> list[dict[str, Any]]:
    """Time one patient's files through a release, in this process and through a Triton server.

    Args:
        files: sequence -> file.
        requests: answers timed in each row; the parts and the ensemble are timed in turn.

    Returns:
        A row each: {"what", "instances" (of the model that prepares), "at_once", "p50_ms",
        "per_minute", "ratio" (over the parts together), "memory_mib" (of the server)}.

    Raises:
        BadInput: the release or the files cannot be used.
    """
    rows: list[dict[str, Any]] = []
    parts = _Parts(repository)
    try:
        with LocalServer(repository) as server, ImagesClient(server.grpc_address) as client:
            whole, ensemble = in_turn(
                [lambda: parts.ask(files, age), lambda: ask_images(client, files, age)], requests
            )
            together = float(np.median(whole.milliseconds))
            for name, took in parts.seconds.items():
                rows.append(_row(f"part: {name}", 1, 1, 1000.0 * float(np.median(took)), together))
            rows.append(_row("the parts together", 1, 1, together, together))
            median = float(np.median(ensemble.milliseconds))
            rows.append(_row("Triton ensemble", 1, 1, median, together, server.memory_mib()))
    finally:
        parts.preparer.close()
    with tempfile.TemporaryDirectory() as scratch:
        for count in instances:
            folder = _with_instances(repository, Path(scratch) / str(count), count)
            rows.append(_busy(folder, files, age, count, requests, together))
    return rows


def ask_images(client: ImagesClient, files: Mapping[str, bytes], age: float) -> ImagesAnswer:
    """Send files, sequence -> bytes, and wait for the answer."""
    t1c, t2, flair = (files.get(name) for name in SEQUENCES)
    return client.predict(age=age, t1c=t1c, t2=t2, flair=flair)


def _busy(
    repository: Path,
    files: Mapping[str, bytes],
    age: float,
    count: int,
    requests: int,
    together: float,
) -> dict[str, Any]:
    with LocalServer(repository) as server, ImagesClient(server.grpc_address) as client:
        busy = timed_requests(
            lambda: ask_images(client, files, age), requests=2 * requests, at_once=AT_ONCE
        )
        median = float(np.median(busy.milliseconds))
        row = _row("Triton ensemble", count, AT_ONCE, median, together, server.memory_mib())
        return {**row, "per_minute": round(60.0 * busy.per_s, 1)}


def _row(
    what: str, instances: int, at_once: int, ms: float, together: float, memory: float | None = None
) -> dict[str, Any]:
    return {
        "what": what,
        "instances": instances,
        "at_once": at_once,
        "p50_ms": round(ms, 1),
        "per_minute": round(60_000.0 * at_once / ms, 1),
        "ratio": round(ms / together, 3),
        "memory_mib": None if memory is None else round(memory),
    }


def _with_instances(repository: Path, folder: Path, count: int) -> Path:
    """The same release with other settings, which are not among the sealed files."""
    shutil.copytree(repository, folder)
    sealed = read_json(folder / RELEASE_FILE)
    settings = {**sealed["settings"], "prepare_instances": count}
    write_json(folder / RELEASE_FILE, {**sealed, "settings": settings})
    return folder
