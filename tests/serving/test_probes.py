"""Probes of a server: full is not dead, and dead is found though it was full."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from tritonclient.utils import InferenceServerException

from components.release.inference.request import request_tensors
from components.release.tensors import ENSEMBLE
from serving.client.client import Client, infer_inputs
from serving.triton.control import health
from serving.triton.server import LocalServer
from tests.serving.shop import Shop

CLIENTS = 40
FLOOD_S = 150.0
MANIFEST = Path(__file__).resolve().parents[2] / "infra" / "kubernetes" / "base" / "triton.yaml"


@contextlib.contextmanager
def flood(shop: Shop, server: LocalServer, clients: int = CLIENTS) -> Iterator[list[str]]:
    """Clients that ask again as soon as they were answered or refused; what they were told."""
    tensors = request_tensors(shop.case(2), shop.release.contents)
    over, said = threading.Event(), list[str]()

    def ask(index: int) -> None:
        with Client(server.grpc_address) as one:
            while not over.is_set():
                try:
                    one.raw.infer(ENSEMBLE, infer_inputs(tensors), client_timeout=60.0)
                    said.append("answered")
                except InferenceServerException as error:
                    said.append(str(error.message()))

    with ThreadPoolExecutor(clients) as pool:
        for index in range(clients):
            pool.submit(ask, index)
        try:
            yield said
        finally:
            over.set()


def _processes(server: LocalServer, model: str) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(server.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(f"/{model}" in word for word in process.cmdline()):
                found.append(process)
    return found


def _health(server: LocalServer, patience_s: float) -> bool:
    with Client(server.grpc_address, deadline_s=patience_s / 3) as client:
        return health(client, patience_s).alive


def test_an_idle_server_is_alive_and_an_absent_one_is_not(shop: Shop, client: Client) -> None:
    assert health(client, 5.0).said == "both ensembles answer"
    with Client("127.0.0.1:9", deadline_s=1.0) as nobody:
        assert not health(nobody, 2.0).alive


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_flood_neither_kills_the_server_nor_empties_the_service(shop: Shop) -> None:
    """By the commands, periods, timeouts and thresholds of the Deployment's probes."""
    probes = _probes()
    with LocalServer(shop.release.folder) as server:
        with flood(shop, server) as said, ThreadPoolExecutor(2) as pool:
            over = time.monotonic() + FLOOD_S
            ended: dict[str, Future[tuple[int, int]]] = {
                name: pool.submit(_worst, probe, server, lambda: time.monotonic() > over)
                for name, probe in probes.items()
            }
            looked = {name: worst.result() for name, worst in ended.items()}
        assert any("queue" in answer for answer in said), "the queues were full"
        assert said.count("answered") > CLIENTS
        for name, (rounds, failures) in looked.items():
            assert rounds >= 2, name
            assert failures == 0, f"{name} failed {failures} times in a row"


@pytest.mark.slow
def test_a_model_that_hangs_behind_a_full_queue_is_found(shop: Shop) -> None:
    """Within three looks; the first may still see answers of patients past the model."""
    with LocalServer(shop.release.folder) as server:
        assert _processes(server, "segmenter")
        with flood(shop, server, clients=20), _held(server, "segmenter"):
            looks = [_health(server, 10.0) for _ in range(3)]
            os.killpg(server.pid, signal.SIGKILL)  # nothing could drain
        assert not any(looks[1:])


@contextlib.contextmanager
def _held(server: LocalServer, model: str) -> Iterator[None]:
    """A model's processes stopped, those too that Triton starts in their place."""
    over = threading.Event()

    def hold() -> None:
        while not over.wait(0.1):
            for process in _processes(server, model):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold)
        try:
            yield
        finally:
            over.set()


def _probes() -> dict[str, dict[str, Any]]:
    deployment = next(yaml.safe_load_all(MANIFEST.read_text()))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {name: container[name] for name in ("readinessProbe", "livenessProbe")}


def _worst(probe: dict[str, Any], server: LocalServer, over: Callable[[], bool]) -> tuple[int, int]:
    """(rounds, longest row of failures) of a probe run as a kubelet runs it."""
    _, *rest = probe["exec"]["command"]
    rest[rest.index("--server") + 1] = server.grpc_address
    command, rounds, row, worst = [sys.executable, "-m", "pipelines.cli", *rest], 0, 0, 0
    while not over():
        began = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, timeout=probe["timeoutSeconds"])
            failed = done.returncode != 0
        except subprocess.TimeoutExpired:
            failed = True
        rounds, row = rounds + 1, row + 1 if failed else 0
        worst = max(worst, row)
        time.sleep(max(probe["periodSeconds"] - (time.monotonic() - began), 0.0))
    return rounds, worst
