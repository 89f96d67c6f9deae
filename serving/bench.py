"""How long one patient takes: the parts by themselves, the ensemble, several at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from components.hardware import cores, processor_name
from serving.client import Client
from serving.local import LocalRelease
from serving.server import LocalServer

Tensors = Mapping[str, np.ndarray]

CONCURRENCY = (1, 2, 4)


def bench_ensemble(
    repository: Path,
    tensors: Tensors,
    *,
    requests: int = 12,
    concurrency: tuple[int, ...] = CONCURRENCY,
) -> list[dict[str, Any]]:
    """Time one patient's tensors through a release, in this process and through a Triton server.

    Args:
        repository: an exported release.
        tensors: see serving.request.request_tensors.
        requests: answers timed in each row, after one that is not.

    Returns:
        A row each: {"what", "at_once", "requests", "p50_ms", "p95_ms", "patients_per_minute",
        "ratio", "hardware"}; `ratio` is the time a patient over that of the first row.

    Raises:
        BadInput: the release or the tensors cannot be used.
    """
    release = LocalRelease(repository)
    rows = [_row("library, in process", lambda: release.ask(tensors), requests, 1)]
    with LocalServer(repository) as server, Client(server.grpc_address) as client:
        rows += [
            _row("Triton ensemble, gRPC", lambda: client.ask(tensors), requests, at_once)
            for at_once in concurrency
        ]
    first = rows[0]["patients_per_minute"]
    return [{**row, "ratio": round(first / row["patients_per_minute"], 3)} for row in rows]


def _row(what: str, ask: Callable[[], object], requests: int, at_once: int) -> dict[str, Any]:
    def timed(_: int) -> float:
        start = time.perf_counter()
        ask()
        return (time.perf_counter() - start) * 1000.0

    timed(0)
    start = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        milliseconds = list(pool.map(timed, range(requests)))
    wall_s = time.perf_counter() - start
    return {
        "what": what,
        "at_once": at_once,
        "requests": requests,
        "p50_ms": round(float(np.median(milliseconds)), 1),
        "p95_ms": round(float(np.quantile(milliseconds, 0.95)), 1),
        "patients_per_minute": round(60.0 * requests / wall_s, 1),
        "hardware": f"{processor_name()}, {cores()} cores",
    }
