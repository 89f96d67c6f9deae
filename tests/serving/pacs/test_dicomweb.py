"""DICOMweb as servers really speak it: encrypted, with tokens, and with paging that is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from serving.pacs.gateway.dicomweb import fetch_new, stow
from serving.pacs.gateway.metrics import Counted, StudyCollector
from serving.pacs.gateway.send import NotStored
from serving.pacs.gateway.settings import DicomWeb, Poll, TlsFiles
from serving.pacs.gateway.spool import Spool
from serving.pacs.gateway.state import GatewayState, Phase
from tests.registry.servers import free_port
from tests.serving.guarded_ingress import Authority
from tests.serving.pacs.parts import as_sent, study

TOKEN = "a-token-nobody-else-has"


@dataclass
class Told:
    """What a server was asked, and what it answers: (status, DICOM JSON)."""

    answer: tuple[int, Any]
    paths: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)


@contextmanager
def _server(told: Told, tls: TlsFiles) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.paths.append(self.path)
            told.tokens.add(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            status, content = told.answer
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = tls.server_context().wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}/dicom-web"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def ours(authority: Authority) -> TlsFiles:
    signed = authority.sign("localhost")
    return TlsFiles(
        certificate=signed.certificate, key=signed.key, authorities=authority.certificates
    )


def _fetch(url: str, tls: TlsFiles, folder: Path) -> GatewayState:
    (folder / "token").write_text(TOKEN + "\n")
    poll = Poll(server=DicomWeb(url=url, token_file=folder / "token", tls=tls))
    state = GatewayState(folder / "s.sqlite")
    spool = Spool(folder / "spool", state, 10, 0.0)
    fetch_new(poll, spool, state, Counted(CollectorRegistry()))
    return state


def test_the_token_is_sent_and_both_sides_show_who_they_are(tmp_path: Path, ours: TlsFiles) -> None:
    told = Told((200, []))
    with _server(told, ours) as url:
        _fetch(url, ours, tmp_path)
        assert told.tokens == {f"Bearer {TOKEN}"}
        asked = len(told.paths)
        stranger = TlsFiles(authorities=Authority(tmp_path, "stranger").certificates)
        for tls in (stranger, TlsFiles(authorities=ours.authorities)):
            with pytest.raises(requests.ConnectionError):
                _fetch(url, tls, tmp_path)
        assert len(told.paths) == asked


def _series(number: int) -> dict[str, Any]:
    return {
        "0020000D": {"vr": "UI", "Value": [f"1.2.{number}"]},
        "0020000E": {"vr": "UI", "Value": [f"1.3.{number}"]},
        "00201209": {"vr": "IS", "Value": [0]},
    }


def test_a_server_whose_every_page_is_the_first_ends_the_search(
    tmp_path: Path, ours: TlsFiles
) -> None:
    page = [_series(number) for number in range(120)]
    told = Told((200, page))
    with _server(told, ours) as url:
        _fetch(url, ours, tmp_path)
    studies = [path for path in told.paths if path.startswith("/dicom-web/studies?")]
    assert len(studies) == 2


FAILED = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}


@pytest.mark.parametrize(
    ("answer", "said"),
    [((503, {}), "HTTP status 503"), ((200, FAILED), r"1 objects failed \(A700\)")],
)
def test_what_was_not_stored_is_told(ours: TlsFiles, answer: tuple[int, Any], said: str) -> None:
    item = as_sent(study(only="t1"))[0]
    with _server(Told(answer), ours) as url, pytest.raises(NotStored, match=said):
        stow(DicomWeb(url=url, tls=ours), item.StudyInstanceUID, [item])


def test_a_token_that_is_missing_is_the_settings_fault_and_no_studys(ours: TlsFiles) -> None:
    server = DicomWeb(url="https://localhost:1", tls=ours, token_file=Path("/no/token"))
    with pytest.raises(NotStored, match="No such file"):
        stow(server, "1.2", as_sent(study(only="t1"))[:1])


def test_a_server_that_is_away_is_told(ours: TlsFiles) -> None:
    server = DicomWeb(url=f"https://localhost:{free_port()}", tls=ours)
    with pytest.raises(NotStored, match="ConnectionError"):
        stow(server, "1.2", as_sent(study(only="t1"))[:1])


def test_prometheus_reads_phases_room_and_age(tmp_path: Path) -> None:
    state = GatewayState(tmp_path / "s.sqlite", lambda: 1000.0)
    spool = Spool(tmp_path / "spool", state, 10, 0.0)
    spool.store("1.2", "1", b"four")
    spool.store("1.3", "2", b"more")
    state.end(state.studies()[0], Phase.REFUSED, "study: no age")
    state.clock = lambda: 1090.0
    registry = CollectorRegistry()
    registry.register(StudyCollector(state, spool))
    text = generate_latest(registry).decode()
    assert 'glioflow_gateway_studies{phase="refused"} 1.0' in text
    assert 'glioflow_gateway_studies{phase="receiving"} 1.0' in text
    assert "glioflow_gateway_spool_bytes 8.0" in text
    assert "glioflow_gateway_oldest_open_seconds 90.0" in text
    assert "1.2" not in text
