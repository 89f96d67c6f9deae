"""A local HTTP server that speaks the parts of the KFP v2beta1 API which submitting needs.

A body that the API's schema does not allow is answered with 400, as the API does.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from serving.triton.process import bracketed
from tests.pipelines.kfp_schema import breaches

BODIES = {
    "/apis/v2beta1/experiments": "V2beta1Experiment",
    "/apis/v2beta1/runs": "V2beta1Run",
    "/apis/v2beta1/recurringruns": "V2beta1RecurringRun",
}
"""Path -> type of what is posted there, and of the answer to it."""

LISTS = {
    "/apis/v2beta1/healthz": "V2beta1GetHealthzResponse",
    "/apis/v2beta1/experiments": "V2beta1ListExperimentsResponse",
    "/apis/v2beta1/runs": "V2beta1ListRunsResponse",
    "/apis/v2beta1/runs/run-1": "V2beta1Run",
    "/apis/v2beta1/recurringruns/rec-1": "V2beta1RecurringRun",
}
"""Path -> type of the answer to a GET."""

ANSWERS: dict[tuple[str, str], dict[str, Any]] = {
    ("GET", "/apis/v2beta1/healthz"): {"multi_user": False},
    ("GET", "/apis/v2beta1/experiments"): {},
    ("POST", "/apis/v2beta1/experiments"): {"experiment_id": "exp-1", "display_name": "glioflow"},
    ("POST", "/apis/v2beta1/runs"): {"run_id": "run-1", "experiment_id": "exp-1"},
    ("POST", "/apis/v2beta1/recurringruns"): {"recurring_run_id": "rec-1"},
    ("GET", "/apis/v2beta1/recurringruns/rec-1"): {"recurring_run_id": "rec-1"},
    ("GET", "/apis/v2beta1/runs"): {"runs": [{"run_id": "run-1"}], "total_size": 1},
    ("GET", "/apis/v2beta1/runs/run-1"): {
        "run_id": "run-1",
        "display_name": "glioflow-paper",
        "state": "FAILED",
        "error": {"code": 2, "message": "task segment failed"},
        "run_details": {
            "task_details": [
                {
                    "task_id": "t-0",
                    "display_name": "root",
                    "state": "FAILED",
                    "child_tasks": [{"task_id": "t-1"}, {"task_id": "t-2"}],
                },
                {
                    "task_id": "t-1",
                    "display_name": "validate-op-driver",
                    "state": "SUCCEEDED",
                },
                {
                    "task_id": "t-2",
                    "display_name": "train-segmenter-op",
                    "state": "FAILED",
                    "child_tasks": [{"pod_name": "pod-3"}],
                },
                {
                    "task_id": "t-3",
                    "pod_name": "pod-3",
                    "display_name": "executor",
                    "state": "FAILED",
                    "start_time": "2026-01-05T10:00:00Z",
                    "end_time": "2026-01-05T11:30:00Z",
                    "error": {"code": 2, "message": "CUDA out of memory | see the log"},
                },
                {
                    "task_id": "t-4",
                    "display_name": "validate-op",
                    "state": "SUCCEEDED",
                    "start_time": "2026-01-05T09:59:00Z",
                    "end_time": "2026-01-05T10:00:00Z",
                },
            ]
        },
    },
}


Front = Callable[[str, str, Message], tuple[int, dict[str, str], str] | None]
"""What stands before the API: (method, path, headers) -> (status, headers, page), or None: pass."""

LOGIN_PAGE = "<!DOCTYPE html><html><title>Log in</title><form action='/dex/auth'></form></html>"
COOKIE = "oauth2_proxy_kubeflow=session-1"
TOKEN = "token-1"


def dex(method: str, path: str, headers: Message) -> tuple[int, dict[str, str], str] | None:
    """As oauth2-proxy before Dex: without its cookie everything goes to a login page."""
    if path.startswith("/dex/"):
        return 200, {"Content-Type": "text/html"}, LOGIN_PAGE
    if headers.get("Cookie") == COOKIE:
        return None
    return 302, {"Location": "/dex/auth?client_id=kubeflow"}, ""


def iap(method: str, path: str, headers: Message) -> tuple[int, dict[str, str], str] | None:
    """As Google's Identity-Aware Proxy: without a token 401, in plain text."""
    if headers.get("Authorization") == f"Bearer {TOKEN}":
        return None
    return 401, {"Content-Type": "text/html"}, "Invalid IAP credentials: empty token"


def page(method: str, path: str, headers: Message) -> tuple[int, dict[str, str], str] | None:
    """A login page under every address, with status 200."""
    return 200, {"Content-Type": "text/html"}, LOGIN_PAGE


def forbid(method: str, path: str, headers: Message) -> tuple[int, dict[str, str], str] | None:
    """As Istio: a token that it does not take."""
    return 403, {"Content-Type": "text/plain"}, "RBAC: access denied"


def namespaced(method: str, path: str, headers: Message) -> tuple[int, dict[str, str], str] | None:
    """As an API of several users that does not tell so by its health."""
    said = '{"error": "Invalid input error: Namespace is empty", "code": 3}'
    return None if "healthz" in path else (400, {"Content-Type": "application/json"}, said)


def read_only(method: str, path: str, headers: Message) -> tuple[int, dict[str, str], str] | None:
    """A proxy that lets nothing but GET through."""
    return None if method == "GET" else (405, {"Content-Type": "text/html"}, "Not allowed")


def late_login(method: str, path: str, headers: Message) -> tuple[int, dict[str, str], str] | None:
    """A front that asks only those who write to log in, by a page."""
    return None if method == "GET" else page(method, path, headers)


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
        stopped = self.server.front(self.command, path, self.headers)  # type: ignore[attr-defined]
        if stopped:
            status, headers, text = stopped
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())
            return
        answer = ANSWERS.get((self.command, path))
        if answer is not None and path.endswith("/healthz"):
            # The API writes this by hand, beside what its schema names.
            answer = {"tag_name": "2.17.0", "commit_sha": "unknown", **answer}
        wrong = breaches(body, BODIES.get(path, "object"))
        if wrong:
            answer = {"error": "; ".join(wrong)}
        self.send_response(400 if wrong else 404 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer or {"error": f"no {path}"}).encode())

    def log_message(self, *arguments: Any) -> None:
        pass


class _OnIPv6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


_SERVERS = {False: ThreadingHTTPServer, True: _OnIPv6}
"""Whether the address is one of IPv6 -> class of the server."""


@contextmanager
def kfp_api(
    front: Front = lambda *request: None, at: str = "127.0.0.1"
) -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """Yields (host, requests received so far) of a server at one of this machine's addresses."""
    server = _SERVERS[":" in at]((at, 0), _Handler)
    server.front = front  # type: ignore[attr-defined]
    server.requests = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{bracketed(at)}:{server.server_port}", server.requests  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
