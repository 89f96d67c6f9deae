"""How long one patient takes: the parts by themselves, the ensemble, several at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.release.inference.local_release import LocalRelease
from serving.client.client import Client
from serving.triton.server import LocalServer

Tensors = Mapping[str, np.ndarray]

CONCURRENCY = (1, 2, 4)


@dataclass(frozen=True)
class Timed:
    """Requests that were timed: milliseconds of each, seconds of all together."""

    milliseconds: tuple[float, ...]
    wall_s: float

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return len(self.milliseconds) / self.wall_s


def timed_requests(ask: Callable[[], object], *, requests: int, at_once: int) -> Timed:
    """Time `ask`, so many at once, after one that is not timed."""
    ask()
    start = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        milliseconds = tuple(pool.map(_milliseconds, [ask] * requests))
    return Timed(milliseconds, time.perf_counter() - start)


def _milliseconds(ask: Callable[[], object]) -> float:
    start = time.perf_counter()
    ask()
    return 1000.0 * (time.perf_counter() - start)


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
        tensors: see components.release.inference.request.request_tensors.
        requests: answers timed in each row, after one that is not. The first two rows, the parts
            one after the other in this process and the ensemble, are timed in turn.

    Returns:
        A row each: {"what", "at_once", "requests", "p50_ms", "p95_ms", "patients_per_minute",
        "ratio"}; `ratio` is the median time over the first row's, shared among those at once.

    Raises:
        BadInput: the release or the tensors cannot be used.
    """
    release = LocalRelease(repository)
    with LocalServer(repository) as server, Client(server.grpc_address) as client:
        parts, ensemble = in_turn(
            [lambda: release.ask(tensors), lambda: client.ask(tensors)], requests
        )
        rows = [_row("the parts, in process", parts, 1)]
        rows.append(_row("Triton ensemble", ensemble, 1))
        for at_once in concurrency[1:]:
            timed = timed_requests(lambda: client.ask(tensors), requests=requests, at_once=at_once)
            rows.append(_row("Triton ensemble", timed, at_once))
    first = rows[0]["p50_ms"]
    return [{**row, "ratio": round(row["p50_ms"] / row["at_once"] / first, 2)} for row in rows]


def in_turn(asked: Sequence[Callable[[], object]], requests: int) -> list[Timed]:
    """Several things timed by turns, so that a machine that slows down slows all of them.

    Each is done once before, untimed.
    """
    for ask in asked:
        ask()
    rounds = [[_milliseconds(ask) for ask in asked] for _ in range(requests)]
    return [Timed(own, sum(own) / 1000.0) for own in zip(*rounds, strict=True)]


def _row(what: str, timed: Timed, at_once: int) -> dict[str, Any]:
    return {
        "what": what,
        "at_once": at_once,
        "requests": len(timed.milliseconds),
        "p50_ms": round(float(np.median(timed.milliseconds)), 1),
        "p95_ms": round(float(np.quantile(timed.milliseconds, 0.95)), 1),
        "patients_per_minute": round(60.0 * timed.per_s, 1),
    }
