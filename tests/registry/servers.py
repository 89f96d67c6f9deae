"""Real servers on this machine: PostgreSQL, S3 over HTTP, and MLflow in front of both."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Servers:
    """Addresses: MLflow's, for the client; the others', to tamper behind its back."""

    uri: str
    database: str
    endpoint: str

    def s3(self) -> Any:
        """A client of the object store."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id="server-only",
            aws_secret_access_key="server-only",
            region_name="us-east-1",
        )

    def wipe(self) -> None:
        """Forget every run, model and file."""
        self.sql("TRUNCATE experiments, registered_models CASCADE")
        s3 = self.s3()
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for item in page.get("Contents", ()):
                s3.delete_object(Bucket=BUCKET, Key=item["Key"])

    def sql(self, statement: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run one statement on the database; its rows."""
        import sqlalchemy

        with sqlalchemy.create_engine(self.database).begin() as connection:
            done = connection.execute(sqlalchemy.text(statement), values or {})
            return [tuple(row) for row in done] if done.returns_rows else []


POSTGRES_FOLDERS = ("/usr/lib/postgresql",)
BUCKET = "mlflow"
_WAIT_S = 600


def postgres_binaries() -> Path | None:
    """Folder of PostgreSQL's server binaries, None where there is none."""
    for root in POSTGRES_FOLDERS:
        found = sorted(Path(root).glob("*/bin/initdb"))
        if found:
            return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mlflow_on_postgres_and_s3(root: Path, port: int) -> Iterator[Servers]:
    """Start all three. The client gets no S3 keys."""
    with ExitStack() as stack:
        # pytest closes its own folders to other users whenever it starts anew.
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="glioflow-postgres-"))
        database = stack.enter_context(_postgres(Path(place) / "server"))
        endpoint = stack.enter_context(_s3(root / "s3.log"))
        uri = stack.enter_context(_mlflow(root / "mlflow.log", port, database, endpoint))
        yield Servers(uri, database, endpoint)


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    binaries, port = postgres_binaries(), free_port()
    assert binaries is not None
    folder.mkdir(parents=True)
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.getuid() == 0 else None
    if user:
        folder.parent.chmod(0o755)
        shutil.chown(folder, user)
    base = ["runuser", "-u", user, "--"] if user else []
    data = folder / "data"
    subprocess.run(
        [*base, str(binaries / "initdb"), "-D", str(data), "-U", "mlflow", "-A", "trust"],
        check=True,
        capture_output=True,
        cwd="/",
    )
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [*base, str(binaries / "pg_ctl"), "-D", str(data), "-w"]
    log = str(folder / "log")
    subprocess.run(
        [*control, "-l", log, "-o", options, "start"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        address = f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
        yield address
    finally:
        subprocess.run(
            [*control, "-m", "immediate", "stop"], stdout=subprocess.DEVNULL, check=True, cwd="/"
        )


@contextmanager
def _s3(log: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    endpoint = f"http://127.0.0.1:{port}"
    with _server(command, log, f"{endpoint}/moto-api/", dict(os.environ)):
        request = urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        yield endpoint


@contextmanager
def _mlflow(log: Path, port: int, database: str, endpoint: str) -> Iterator[str]:
    environment = {
        **os.environ,
        "MLFLOW_S3_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "server-only",
        "AWS_SECRET_ACCESS_KEY": "server-only",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", database, "--artifacts-destination", f"s3://{BUCKET}/runs"),
        *("--workers", "2", "--allowed-hosts", "127.0.0.1,127.0.0.1:*,localhost,localhost:*"),
    ]
    address = f"http://127.0.0.1:{port}"
    with _server(command, log, f"{address}/health", environment):
        yield address


@contextmanager
def _server(
    command: list[str], log: Path, health: str, environment: dict[str, str]
) -> Iterator[None]:
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=environment, start_new_session=True
        )
    try:
        _await(process, health, log)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=_WAIT_S)


def _await(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    until = time.monotonic() + _WAIT_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(health, timeout=2).close()
            return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"no answer from {health}: {log.read_text()}")
