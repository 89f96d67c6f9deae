"""Addresses that a server listens on and clients ask, of both kinds."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from components.core.errors import BadInput
from serving.client.glioflow_client.connection import Connection, Refused
from serving.triton.binary import server_command, server_environment
from serving.triton.process import free_port
from serving.triton.server import LocalServer

START_S = 60


def _live(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


@pytest.mark.parametrize(
    ("host", "asked"),
    [("::1", "[::1]"), ("::", "[::1]"), ("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")],
)
def test_every_interface_answers_at_addresses_of_both_kinds(
    host: str, asked: str, tmp_path: Path
) -> None:
    """triton#5305: of an IPv6 address in brackets Triton says that it listens, and does not."""
    ports = [free_port(host, 0) for _ in range(3)]
    folders = {"model-repository": tmp_path, "backend-directory": tmp_path}
    process = subprocess.Popen(
        server_command(folders, host, ports, []),
        env=server_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        metrics = f"http://{asked}:{ports[2]}/metrics"
        end = time.monotonic() + START_S
        while not _live(metrics) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.2)
        assert _live(metrics)
        assert _live(f"http://{asked}:{ports[1]}/v2/health/live")
        with Connection(f"{asked}:{ports[0]}") as connection:
            assert connection.raw.is_server_live()
        if host == "::":
            with Connection(f"127.0.0.1:{ports[0]}") as connection:
                assert connection.raw.is_server_live()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("host", "asked"),
    [("[::]", "[::1]"), ("::1", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("10.1.2.3", "10.1.2.3")],
)
def test_a_server_names_where_it_is_reached(host: str, asked: str) -> None:
    server = LocalServer(None, host=host, grpc_port=8001, http_port=8000, metrics_port=8002)
    found = (server.grpc_address, server.http_address, server.metrics_address)
    assert found == (f"{asked}:8001", f"{asked}:8000", f"{asked}:8002")


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_of_another_machine_is_one_line(host: str) -> None:
    with pytest.raises(BadInput) as refused:
        free_port(host, 0)
    assert host in refused.value.subject


@pytest.mark.parametrize("address", ["::1:8001", "fd00::2:8001", "::1", "[::1]", "localhost"])
def test_an_ipv6_address_without_brackets_is_refused(address: str) -> None:
    with pytest.raises(Refused) as refused:
        Connection(address)
    assert refused.value.subject == f"server '{address}'"


@pytest.mark.parametrize("address", ["[::1]:8001", "dns:///triton.glioflow:8001", "triton:8001"])
def test_what_grpc_takes_is_taken(address: str) -> None:
    with Connection(address) as connection:
        assert connection.address == address
