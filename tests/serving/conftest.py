"""One small release and one real Triton server for all tests of serving."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.client.client import Client
from serving.triton.server import LocalServer
from tests.serving.shop import Shop, build


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return build(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def server(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    audit = tmp_path_factory.mktemp("audit") / "predictions.jsonl"
    with LocalServer(shop.release.folder, audit=audit) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: LocalServer) -> Iterator[Client]:
    with Client(server.grpc_address, deadline_s=60.0) as connected:
        yield connected
