"""TLS, client certificates and tokens against a real endpoint before a real Triton."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.core.errors import Outage
from components.release.inference.request import request_tensors
from serving.bench.load import agree
from serving.client.client import Access, Client
from serving.triton.server import LocalServer
from tests.serving.guarded_ingress import Authority, ingress
from tests.serving.shop import Shop

TOKEN = "a-token-nobody-else-has"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def guarded(server: LocalServer, authority: Authority) -> Iterator[str]:
    identity = authority.sign("localhost")
    with ingress(server.grpc_address, identity, clients=authority, token=TOKEN) as address:
        yield address


def test_with_certificate_and_token_the_answer_is_the_same(
    shop: Shop, client: Client, guarded: str, authority: Authority
) -> None:
    me = authority.sign("client")
    access = Access(
        tls=True,
        certificates=authority.certificates,
        identity=(me.certificate, me.key),
        token=TOKEN,
    )
    tensors = request_tensors(shop.case(1), shop.release.contents)
    with Client(guarded, access=access) as behind:
        assert behind.canary() is None
        assert behind.contents() == client.contents()
        assert agree(behind.ask(tensors), client.ask(tensors))


@pytest.mark.parametrize(
    ("lacks", "remedy"),
    [
        ("authority", "--ca"),
        ("certificate", "--certificate"),
        ("token", "--token"),
        ("tls", "--tls"),
    ],
)
def test_whoever_lacks_one_is_told_which(
    shop: Shop, guarded: str, authority: Authority, tmp_path: Path, lacks: str, remedy: str
) -> None:
    me, stranger = authority.sign("client"), Authority(tmp_path, "stranger")
    access = Access(
        tls=True,
        certificates=(stranger if lacks == "authority" else authority).certificates,
        identity=None if lacks == "certificate" else (me.certificate, me.key),
        token="" if lacks == "token" else TOKEN,
    )
    access = Access() if lacks == "tls" else access
    with (
        Client(guarded, deadline_s=2.0, access=access) as behind,
        pytest.raises(Outage, match=remedy) as refused,
    ):
        behind.ask(request_tensors(shop.case(1), shop.release.contents))
    assert TOKEN not in str(refused.value)
