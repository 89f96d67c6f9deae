"""A patient's images sent to a server on this machine, against handed over in shared memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from components.core.errors import BadInput
from serving.bench.ensemble import Tensors, in_turn
from serving.client.client import Client
from serving.triton.server import LocalServer


def bench_transport(
    repository: Path, tensors: Tensors, *, requests: int = 12
) -> list[dict[str, Any]]:
    """Time requests of both kinds in turn: whole ones, and ones that the first model refuses.

    A refused request costs its way, its checks, and no network.

    Returns:
        A row each: {"request", "images", "p50_ms", "ratio" (over the same request, sent),
        "loopback_mib" (through the loopback, there and back, a request)}.

    Raises:
        BadInput: the release or the tensors cannot be used.
    """
    refused = {**tensors, "plan": ~tensors["plan"]}
    rows = []
    with (
        LocalServer(repository) as server,
        Client(server.grpc_address, shared_memory=False) as far,
        Client(server.grpc_address) as near,
    ):
        for request, given in (("whole", tensors), ("refused at once", refused)):
            sent, shared = _asking(far, given), _asking(near, given)
            times = [float(np.median(t.milliseconds)) for t in in_turn([sent, shared], requests)]
            ways = {"sent": sent, "shared": shared}
            for (images, ask), p50_ms in zip(ways.items(), times, strict=True):
                rows.append(
                    {
                        "request": request,
                        "images": images,
                        "p50_ms": round(p50_ms, 1),
                        "ratio": round(p50_ms / times[0], 3),
                        "loopback_mib": round(_loopback_mib(ask), 2),
                    }
                )
    return rows


def _asking(client: Client, tensors: Tensors) -> Callable[[], object]:
    def ask() -> None:
        with suppress(BadInput):
            client.ask(tensors)

    return ask


def _loopback_mib(ask: Callable[[], object]) -> float:
    before = psutil.net_io_counters(pernic=True)["lo"].bytes_sent
    ask()
    return (psutil.net_io_counters(pernic=True)["lo"].bytes_sent - before) / 2**20
