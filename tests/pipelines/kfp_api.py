"""A local HTTP server that speaks the parts of the KFP v2beta1 API which submitting needs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWERS: dict[tuple[str, str], dict[str, Any]] = {
    ("GET", "/apis/v2beta1/healthz"): {"multi_user": False},
    ("GET", "/apis/v2beta1/experiments"): {},
    ("POST", "/apis/v2beta1/experiments"): {"experiment_id": "exp-1", "display_name": "glioflow"},
    ("POST", "/apis/v2beta1/runs"): {"run_id": "run-1", "experiment_id": "exp-1"},
    ("POST", "/apis/v2beta1/recurringruns"): {"recurring_run_id": "rec-1"},
}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.requests.append((self.command, path, body))  # type: ignore[attr-defined]
        answer = ANSWERS.get((self.command, path))
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer or {"error": f"no {path}"}).encode())

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def kfp_api() -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """Yields (host, requests received so far)."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.requests = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.requests  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
