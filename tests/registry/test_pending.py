"""A store that does not take a run, whatever it says: the run is kept, and sent later."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from components.core.files import read_json
from components.registry.pending import PENDING, pending_runs, publish_or_keep, resume
from components.registry.settings import PublishSettings
from components.registry.tracking.store import StoreUnreachable
from tests.registry.fabricated_run import fabricate

PAGE = b"<!doctype html><html><title>Log in</title></html>"


@contextmanager
def _answering(status: int, body: bytes, kind: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"You are not authenticated", "text/plain"),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', "application/json"),
        (404, b"not found", "text/plain"),
        (413, b"<html>413 Request Entity Too Large</html>", "text/html"),
        (507, b"full", "text/plain"),
        (200, PAGE, "text/html"),
    ],
    ids=str,
)
def test_a_run_is_kept_whatever_the_store_answers(
    tmp_path: Path, empty: PublishSettings, status: int, body: bytes, kind: str
) -> None:
    run, out = fabricate(tmp_path / "run"), tmp_path / "out" / "published"
    with _answering(status, body, kind) as address:
        settings = empty.model_copy(update={"tracking_uri": address})
        kept = publish_or_keep(run, settings, out)
        assert kept.pending == PENDING
        with pytest.raises(StoreUnreachable):
            resume(tmp_path / "out")
    assert pending_runs(tmp_path / "out") == [out]
    written = read_json(out / "published.json")
    assert f"glioflow publish --resume {out}" in written["gate"]["reason"]
    assert written["gate"]["passed"] is False


def test_where_no_disk_stays_the_step_fails_and_says_how_the_run_is_sent(
    tmp_path: Path, empty: PublishSettings
) -> None:
    """On Kubeflow, where a run that nobody can find again would be called a success."""
    run, out = fabricate(tmp_path / "run"), tmp_path / "published"
    with _answering(403, b"no", "text/plain") as address:
        settings = empty.model_copy(update={"tracking_uri": address})
        with pytest.raises(StoreUnreachable) as refused:
            publish_or_keep(run, settings, out, keeps=False)
    assert refused.value.remedy.startswith("allow this account to write there, then submit")
    assert list(out.iterdir()) == []
    assert publish_or_keep(run, empty, out, keeps=False).promotion == "champion"


def test_a_run_is_kept_while_the_database_is_locked(
    tmp_path: Path, empty: PublishSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    run, out = fabricate(tmp_path / "run"), tmp_path / "out" / "published"
    lock = sqlite3.connect(empty.tracking_uri.removeprefix("sqlite:///"))
    lock.execute("BEGIN EXCLUSIVE")
    try:
        assert publish_or_keep(run, empty, out).pending == PENDING
    finally:
        lock.rollback()
        lock.close()
    (sent,) = resume(tmp_path / "out")
    assert sent.promotion == "champion"
    assert pending_runs(tmp_path / "out") == []


def test_an_error_of_ours_keeps_the_run_and_is_raised(
    tmp_path: Path, empty: PublishSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **named: Any) -> None:
        raise KeyError("ours")

    monkeypatch.setattr("components.registry.publish.record_run", broken)
    run, out = fabricate(tmp_path / "run"), tmp_path / "out" / "published"
    with pytest.raises(KeyError):
        publish_or_keep(run, empty, out)
    assert pending_runs(tmp_path / "out") == [out]
