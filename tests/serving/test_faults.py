"""What goes wrong with a real server: malformed requests, vanishing clients, its own end."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from components.core.errors import BadInput
from components.release.inference.request import Answer, request_tensors
from components.release.tensors import ENSEMBLE
from serving.client.client import Busy, Client, ServerTrouble, infer_inputs
from serving.client.glioflow_client.errors import explained
from serving.triton.metrics import read_activity
from serving.triton.server import DRAIN_TIMEOUT_S, LocalServer
from tests.serving.shop import Shop

Tensors = dict[str, np.ndarray]

MALFORMED = 220
VOLUMES = ("t1c", "t2", "flair")
NAMES = (*VOLUMES, "brain", "age", "grid_affine", "to_mni", "plan")
FLOATS = (*VOLUMES, "age", "grid_affine", "to_mni")
NOT_FINITE = (np.nan, np.inf, -np.inf)


@st.composite
def malformed(draw: st.DrawFn) -> tuple[str, Callable[[np.ndarray], np.ndarray] | None]:
    """The tensor at fault, and what is done to it; None leaves it out."""
    kind = draw(st.sampled_from(("shape", "dtype", "not finite", "age", "affine", "plan", "gone")))
    if kind == "age":
        age = draw(st.floats(-1e30, 0.0, exclude_max=True) | st.floats(200.0, 1e30))
        return "age", lambda a: np.full_like(a, age)
    if kind == "affine":
        factor = draw(st.sampled_from((0.0, 1e-9, 0.01, 20.0, 1e9, 1e300)))
        return draw(st.sampled_from(("grid_affine", "to_mni"))), lambda a: a * factor
    if kind == "plan":
        place, change = draw(st.integers(0, 31)), draw(st.integers(1, 255))
        return "plan", lambda a: a ^ np.where(np.arange(32) == place, change, 0).astype(np.uint8)
    if kind == "not finite":
        place, value = draw(st.integers(0, 10**6)), draw(st.sampled_from(NOT_FINITE))
        return draw(st.sampled_from(FLOATS)), lambda a: _put(a, place, value)
    name = draw(st.sampled_from(NAMES))
    if kind == "gone":
        return name, None
    if kind == "dtype":
        types = st.sampled_from((np.int8, np.int64, np.uint16, np.float16, np.bool_))
        dtype = draw(types)
        return name, lambda a: a.astype(dtype)
    shape = draw(st.lists(st.integers(1, 30), min_size=1, max_size=5).map(tuple))
    return name, lambda a: np.zeros(shape if shape != a.shape else (*shape, 1), a.dtype)


def _put(array: np.ndarray, place: int, value: float) -> np.ndarray:
    spoiled = array.copy()
    spoiled.reshape(-1)[place % array.size] = value
    return spoiled


def test_every_malformed_request_is_refused_by_name(shop: Shop, client: Client) -> None:
    good = request_tensors(shop.case(1), shop.release.contents)
    before = client.ask(good)
    asked = 0

    @settings(
        max_examples=MALFORMED,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(malformed())
    def refuse(fault: tuple[str, Callable[[np.ndarray], np.ndarray] | None]) -> None:
        nonlocal asked
        name, spoil = fault
        bad = {key: array for key, array in good.items() if key != name}
        if spoil is not None:
            with np.errstate(all="ignore"):
                bad[name] = np.ascontiguousarray(spoil(good[name]))
        asked += 1
        with pytest.raises(InferenceServerException) as refused:
            client.raw.infer(ENSEMBLE, infer_inputs(bad), client_timeout=120.0)
        assert refused.value.status() == "StatusCode.INVALID_ARGUMENT", refused.value
        assert name in str(refused.value.message())

    refuse()
    assert asked >= 200
    _same(client.ask(good), before)


def _same(answer: Answer, expected: Answer) -> None:
    assert (answer.status, answer.slices) == (expected.status, expected.slices)
    assert np.array_equal(answer.mask, expected.mask)
    assert answer.probability == pytest.approx(expected.probability, abs=1e-5)


@pytest.mark.slow
def test_clients_that_vanish_or_dawdle_harm_nobody(shop: Shop, client: Client) -> None:
    good = request_tensors(shop.case(2), shop.release.contents)
    before = client.ask(good)
    for _ in range(5):
        with pytest.raises(InferenceServerException), Client(client.address) as hasty:
            hasty.raw.infer(ENSEMBLE, infer_inputs(good), client_timeout=0.005)
    host, _, port = client.address.rpartition(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(b"PRI * HTTP/2.0\r\n")
        _same(client.ask(good), before)


def test_a_huge_message_is_refused(shop: Shop, client: Client) -> None:
    good = request_tensors(shop.case(2), shop.release.contents)
    before = client.ask(good)
    with pytest.raises(BadInput):
        client.ask({**good, "t1c": np.zeros((256, 256, 256), np.float32)})
    _same(client.ask(good), before)


def test_a_full_queue_says_busy(shop: Shop, server: LocalServer) -> None:
    """Twice as many at once as all queues hold: some are answered, the rest told to come again."""
    good = request_tensors(shop.case(2), shop.release.contents)
    room = shop.release.manifest.settings.queue

    def ask(index: int) -> str:
        with Client(server.grpc_address) as one:
            try:
                one.raw.infer(
                    ENSEMBLE, infer_inputs(good), request_id=f"full-{index}", client_timeout=300.0
                )
            except InferenceServerException as error:
                return str(error.status())
        return "answered"

    with ThreadPoolExecutor(6 * room) as pool:
        said = set(pool.map(ask, range(6 * room)))
    assert said == {"answered", "StatusCode.UNAVAILABLE"}


@pytest.mark.parametrize("said", ["Exceeds maximum queue size", "Request timeout expired"])
def test_what_triton_says_of_a_queue_is_busy(said: str) -> None:
    """The second of a request that waited longer than the queue's limit (Triton 2.45)."""
    message = f"in ensemble 'glioma_idh_images', {said}"
    error = InferenceServerException(msg=message, status="StatusCode.UNAVAILABLE")
    assert isinstance(explained(error, "here:8001"), Busy)


def test_requests_that_left_do_not_hold_up_the_end(shop: Shop) -> None:
    """A client that left leaves its request without an end in Triton's counters."""
    good = request_tensors(shop.case(2), shop.release.contents)
    with LocalServer(shop.release.folder) as server, Client(server.grpc_address) as client:
        client.ask(good)
        calls = [
            client.raw.async_infer(ENSEMBLE, infer_inputs(good), lambda result, error: None)
            for _ in range(shop.release.manifest.settings.queue)
        ]
        while not read_activity(server.metrics_address).inside:
            pass
        for call in calls:
            call.cancel()
        began = time.monotonic()
        server.drain()
        assert time.monotonic() - began < DRAIN_TIMEOUT_S / 2


@pytest.mark.slow
def test_the_server_ends_under_load(shop: Shop) -> None:
    """Stopped, it answers what it took; killed and started again, the clients' retries do."""
    contents = shop.release.contents
    patients = {seed: request_tensors(shop.case(seed), contents) for seed in range(1, 7)}
    with LocalServer(shop.release.folder) as server, Client(server.grpc_address) as client:
        port = int(server.grpc_address.rpartition(":")[2])
        expected = {seed: client.ask(tensors) for seed, tensors in patients.items()}
        sent = threading.Barrier(len(patients) + 1)

        def ask_at_once(seed: int) -> Answer:
            with Client(server.grpc_address, deadline_s=120.0) as one:
                one.contents()
                sent.wait()
                return one.ask(patients[seed])

        with ThreadPoolExecutor(len(patients)) as pool:
            answers = {seed: pool.submit(ask_at_once, seed) for seed in patients}
            sent.wait()
            while not _entered(server):
                pass
            server.drain()
            failed = {s: a.exception(timeout=120.0) for s, a in answers.items()}
        done = [seed for seed, error in failed.items() if error is None]
        assert done, "those that had entered are answered"
        for seed in done:
            _same(answers[seed].result(), expected[seed])
        assert all(isinstance(e, ServerTrouble) for e in failed.values() if e is not None)
    with ThreadPoolExecutor(len(patients)) as pool:
        address = f"127.0.0.1:{port}"
        with LocalServer(shop.release.folder, grpc_port=port) as server:
            waiting = {seed: pool.submit(_ask, address, patients[seed]) for seed in patients}
            os.killpg(server.pid, signal.SIGKILL)
        with LocalServer(shop.release.folder, grpc_port=port):
            for seed, answer in waiting.items():
                _same(answer.result(), expected[seed])


def _entered(server: LocalServer) -> int:
    return read_activity(server.metrics_address).inside


def _ask(address: str, tensors: Tensors) -> Answer:
    with Client(address, deadline_s=600.0) as client:
        return client.ask(tensors)
