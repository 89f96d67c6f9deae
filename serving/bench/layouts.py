"""Threads and copies of the segmenter: which layout serves most patients on this machine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.core.files import read_json, write_json
from components.release.manifest import RELEASE_FILE
from serving.bench.ensemble import Tensors, timed_requests
from serving.client.client import Client
from serving.triton.server import LocalServer

LAYOUTS = ((1, 1), (2, 1), (1, 2), (2, 2))
"""(threads, copies) of the segmenter."""


def bench_layouts(
    repository: Path,
    tensors: Tensors,
    *,
    requests: int = 12,
    layouts: Sequence[tuple[int, int]] = LAYOUTS,
) -> list[dict[str, Any]]:
    """Serve a release in several layouts, one after the other.

    Returns:
        A row each: {"threads", "copies", "alone_ms" (median of one at a time),
        "patients_per_minute" (four at once), "memory_mib"}.

    Raises:
        BadInput: the release or the tensors cannot be used.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for threads, copies in layouts:
            laid_out = _with_layout(
                repository, Path(folder) / f"{threads}x{copies}", threads, copies
            )
            with LocalServer(laid_out) as server, Client(server.grpc_address) as client:
                alone = timed_requests(lambda: client.ask(tensors), requests=requests, at_once=1)
                busy = timed_requests(lambda: client.ask(tensors), requests=requests, at_once=4)
                rows.append(
                    {
                        "threads": threads,
                        "copies": copies,
                        "alone_ms": round(float(np.median(alone.milliseconds)), 1),
                        "patients_per_minute": round(60.0 * busy.per_s, 1),
                        "memory_mib": round(server.memory_mib()),
                    }
                )
    return rows


def _with_layout(repository: Path, folder: Path, threads: int, copies: int) -> Path:
    """The same release, to be laid out otherwise: its settings are not among the sealed files."""
    shutil.copytree(repository, folder)
    sealed = read_json(folder / RELEASE_FILE)
    settings = {**sealed["settings"], "threads": threads, "segmenter_instances": copies}
    write_json(folder / RELEASE_FILE, {**sealed, "settings": settings})
    return folder
