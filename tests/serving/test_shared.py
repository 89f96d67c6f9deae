"""Shared memory with a real server: the same answers, and nothing left behind whatever happens."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.core.errors import BadInput
from components.release.inference.request import request_tensors
from serving.client import shared_memory as shared
from serving.client.client import Client, ServerTrouble
from serving.client.shared_memory import FOLDER, PREFIX, on_this_machine
from serving.triton.server import LocalServer
from tests.serving.shop import Shop

Tensors = dict[str, np.ndarray]


def _files() -> list[Path]:
    return list(FOLDER.glob(f"{PREFIX}-*"))


def _regions(client: Client) -> list[str]:
    status = client.raw.get_system_shared_memory_status()
    return [name for name in status.regions if name.startswith(PREFIX)]


@pytest.fixture
def near(server: LocalServer) -> Iterator[Client]:
    with Client(server.grpc_address, deadline_s=60.0) as client:
        yield client
        for name in _regions(client):
            client.raw.unregister_system_shared_memory(name)
    assert not _files()


@pytest.fixture
def tensors(shop: Shop) -> Tensors:
    return request_tensors(shop.case(1), shop.release.contents)


def _watched(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the regions that the client's requests lie in, "" for one that is sent."""
    seen: list[str] = []
    infer = client.raw.infer

    def watching(model: str, inputs: list[Any], **options: Any) -> Any:
        parameters, key = inputs[0]._get_tensor().parameters, "shared_memory_region"
        seen.append(parameters[key].string_param if key in parameters else "")
        return infer(model, inputs, **options)

    monkeypatch.setattr(client.raw, "infer", watching)
    return seen


def test_answers_are_those_of_a_request_that_is_sent(
    shop: Shop, server: LocalServer, near: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _watched(near, monkeypatch)
    with Client(server.grpc_address, shared_memory=False) as far:
        sent = _watched(far, monkeypatch)
        for case in (shop.case(2), shop.case(6, tumor=False)):
            tensors = request_tensors(case, shop.release.contents)
            one, other = (c.infer(tensors, request_id="same") for c in (near, far))
            assert set(one) == set(other)
            for name, array in one.items():
                assert array.dtype == other[name].dtype
                assert np.array_equal(array, other[name], equal_nan=True)
    assert len(seen) == 2
    assert all(seen)
    assert sent == ["", ""]
    assert not _regions(near)


def test_clients_at_once_have_regions_of_their_own(
    shop: Shop, server: LocalServer, near: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [request_tensors(shop.case(seed), shop.release.contents) for seed in range(4)]
    expected = [near.ask(case).probability for case in cases]
    seen = _watched(near, monkeypatch)
    with Client(server.grpc_address, deadline_s=60.0) as second, ThreadPoolExecutor(8) as pool:
        seen_too = _watched(second, monkeypatch)
        jobs = [
            (index, pool.submit((near, second)[turn % 2].ask, case))
            for turn in range(6)
            for index, case in enumerate(cases)
        ]
        assert all(job.result().probability == expected[index] for index, job in jobs)
    assert len(set(seen + seen_too)) == len(jobs)
    assert not _regions(near)


def test_a_refused_request_leaves_nothing(near: Client, tensors: Tensors) -> None:
    with pytest.raises(BadInput):
        near.ask({**tensors, "age": np.array([400.0], np.float32)})
    assert not _files()
    assert not _regions(near)


def test_an_exception_in_between_leaves_no_file(
    near: Client, tensors: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def struck(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(near.raw, "infer", struck)
        with pytest.raises(KeyboardInterrupt):
            near.ask(tensors)
        assert not _files()
    with monkeypatch.context() as patch:
        patch.setattr(near.raw, "register_system_shared_memory", struck)
        with pytest.raises(KeyboardInterrupt):
            near.ask(tensors)
    assert not _files()


def test_a_request_that_outlives_its_client_keeps_its_memory_until_its_time_is_over(
    server: LocalServer, near: Client, tensors: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    near.ask(tensors)
    with Client(server.grpc_address, deadline_s=0.02) as hasty, pytest.raises(ServerTrouble):
        while True:
            hasty.ask(tensors)
    assert not _files()
    left = _regions(near)
    assert len(left) == 1
    assert server.alive()
    assert near.ask(tensors).probability is not None
    with Client(server.grpc_address) as later:
        later.ask(tensors)
        assert _regions(near) == left
    later_on = time.time() + shared.GRACE_S + 61.0
    monkeypatch.setattr(shared.time, "time", lambda: later_on)
    with Client(server.grpc_address) as latest:
        latest.ask(tensors)
    assert not _regions(near)


DYING = """
import sys, numpy, threading, os, signal
from serving.client.client import Client
from serving.client import shared_memory as shared
tensors = dict(numpy.load(sys.argv[2]))
client = Client(sys.argv[1])
moment = sys.argv[3]
if moment == "registering":
    def hang(*_, **__):
        print("now", flush=True)
        threading.Event().wait()
    client.raw.register_system_shared_memory = hang
else:
    send = client.raw.infer
    def tell(*arguments, **options):
        print("now", flush=True)
        return send(*arguments, **options)
    client.raw.infer = tell
while True:
    client.ask(tensors)
"""


@pytest.mark.parametrize("moment", ["registering", "asking"])
def test_a_client_that_is_killed_leaves_no_file_and_a_server_that_answers(
    server: LocalServer, near: Client, tensors: Tensors, tmp_path: Path, moment: str
) -> None:
    np.savez(tmp_path / "t.npz", **tensors)  # type: ignore[arg-type]
    client = subprocess.Popen(
        [sys.executable, "-c", DYING, server.grpc_address, str(tmp_path / "t.npz"), moment],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"now\n"
    client.send_signal(signal.SIGKILL)
    client.wait()
    deadline = time.monotonic() + 20.0
    while _files() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _files()
    assert near.ask(tensors).probability is not None
    assert server.alive()


def test_a_server_that_sees_no_memory_of_ours_is_sent_the_images(
    near: Client,
    tensors: Tensors,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = _watched(near, monkeypatch)
    register = near.raw.register_system_shared_memory
    monkeypatch.setattr(
        near.raw,
        "register_system_shared_memory",
        lambda name, _, size, **options: register(name, "/glioflow-is-not-here", size, **options),
    )
    with caplog.at_level(logging.WARNING):
        first, second = near.ask(tensors), near.ask(tensors)
    assert first.probability == second.probability is not None
    assert seen == ["", ""]
    assert caplog.text.count("shares no memory") == 1
    assert not _files()


def test_where_memory_is_full_the_images_are_sent(
    near: Client,
    tensors: Tensors,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shared.os, "posix_fallocate", full)
    with caplog.at_level(logging.WARNING):
        assert near.ask(tensors).probability is not None
    assert "No space left" in caplog.text
    assert not _files()


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.0.0.1", True), ("[::1]", True), ("10.0.0.7", False),
     ("gpu-node", False), ("localhost.example.org", False)],
)  # fmt: skip
def test_only_the_loopback_is_this_machine(host: str, here: bool) -> None:
    assert on_this_machine(host) is here
