"""A local S3 server behind a proxy that can break, cut and slow what passes through it."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Faults:
    """What the proxy does to the next GETs of an object, and what it saw.

    Attributes:
        cut: number of answers to cut in the middle.
        refuse: number of requests of any kind to answer with 503.
        spoil: number of answers in which one byte is changed.
        pause_s: wait after each 64 KiB.
        ranges: the Range header of each GET of an object, "" where there was none.
        headers: names of all headers that were sent, in lower case.
    """

    cut: int = 0
    refuse: int = 0
    spoil: int = 0
    pause_s: float = 0.0
    ranges: list[str] = field(default_factory=list)
    headers: set[str] = field(default_factory=set)


_OURS = ("content-length", "connection", "date", "server", "transfer-encoding")
"""Headers that the proxy writes itself."""


class Proxy:
    """Forwards to a server on this machine over real HTTP; `faults` may be changed at any time."""

    def __init__(self, host: str, port: int) -> None:
        self.faults = Faults()
        handler = type("Handler", (_Handler,), {"proxy": self, "upstream": (host, port)})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    upstream: tuple[str, int]

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def _pass(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.proxy.faults.headers.update(name.lower() for name in self.headers)
        if self.proxy.faults.refuse > 0:
            self.proxy.faults.refuse -= 1
            self._answer(503, {}, b"")
            return
        upstream = http.client.HTTPConnection(*self.upstream, timeout=30)
        upstream.request(self.command, self.path, content, dict(self.headers))
        answer = upstream.getresponse()
        body, headers = answer.read(), dict(answer.getheaders())
        upstream.close()
        if self.command == "GET" and "list-type" not in self.path and answer.status < 300:
            self.proxy.faults.ranges.append(self.headers.get("Range", ""))
            self._answer(answer.status, headers, self._harm(body), len(body))
        else:
            self._answer(answer.status, headers, body)

    def _harm(self, body: bytes) -> bytes:
        if self.proxy.faults.spoil > 0:
            self.proxy.faults.spoil -= 1
            body = bytes([body[0] ^ 1]) + body[1:]
        if self.proxy.faults.cut > 0:
            self.proxy.faults.cut -= 1
            self.close_connection = True
            body = body[: len(body) // 2]
        return body

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, promised: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _OURS:
                self.send_header(name, value)
        told = headers.get("Content-Length", "0") if self.command == "HEAD" else None
        self.send_header("Content-Length", told or str(promised or len(body)))
        self.end_headers()
        for start in range(0, 0 if self.command == "HEAD" else len(body), 1 << 16):
            self.wfile.write(body[start : start + (1 << 16)])
            if self.proxy.faults.pause_s:
                time.sleep(self.proxy.faults.pause_s)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass


EMPTY_LIST = b"<ListBucketResult><Name>b</Name><KeyCount>0</KeyCount></ListBucketResult>"


@contextmanager
def refusing_server(status: int, code: str, *, lists: bool = False) -> Iterator[str]:
    """Address of a server that answers everything with one S3 error; `lists`: but listings."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _refuse(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            listing = lists and "list-type" in self.path
            body = EMPTY_LIST if listing else f"<Error><Code>{code}</Code></Error>".encode()
            self.send_response(200 if listing else status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

        do_GET = do_HEAD = do_PUT = _refuse

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
