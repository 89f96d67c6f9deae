"""A time-stamp authority (RFC 3161) on this machine: HTTP in front of `openssl ts`."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.release.keys import write_pair

_CONFIGURATION = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/tsa.crt
signer_key = {folder}/tsa.pem
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
"""


@dataclass
class Authority:
    """A running authority. `replayed`: an answer that it gives instead of a new one."""

    url: str
    root: Path
    replayed: bytes | None = None
    answered: int = 0


@contextmanager
def time_stamp_authority(folder: Path) -> Iterator[Authority]:
    """Run one whose root certificate is made anew."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here: apt-get install openssl to run this test")
    folder.mkdir(parents=True)
    _certificates(folder)
    (folder / "serial").write_text("01\n")
    (folder / "tsa.cnf").write_text(_CONFIGURATION.format(folder=folder))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            answer = running.replayed or _answer(folder, query)
            running.answered += 1
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    running = Authority(f"http://127.0.0.1:{server.server_port}/", folder / "root.crt")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(folder: Path, query: bytes) -> bytes:
    (folder / "query.tsq").write_bytes(query)
    files = ["-queryfile", str(folder / "query.tsq"), "-out", str(folder / "answer.tsr")]
    subprocess.run(
        ["openssl", "ts", "-reply", "-config", str(folder / "tsa.cnf"), *files],
        check=True, capture_output=True,
    )  # fmt: skip
    return (folder / "answer.tsr").read_bytes()


def _certificates(folder: Path) -> None:
    """root.crt, and tsa.crt with its key tsa.pem, which may sign time-stamps and nothing else."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    write_pair(folder, "tsa", key)
    root, leaf = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("root", "clock")
    )
    now = datetime.now(UTC)
    stamping = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    for name, subject, public, extension in (
        ("root", root, root_key.public_key(), constraints),
        ("tsa", leaf, key.public_key(), stamping),
    ):
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=True)
            .sign(root_key, hashes.SHA256())
        )
        (folder / f"{name}.crt").write_bytes(made.public_bytes(Encoding.PEM))
