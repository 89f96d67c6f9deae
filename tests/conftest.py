"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A gate must give one answer for one commit; `HYPOTHESIS_PROFILE=explore` draws new examples.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real patients: GLIOFLOW_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("GLIOFLOW_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "tcga-lgg" / "manifest.csv").is_file():
        pytest.skip(f"no real patients at {folder}: set GLIOFLOW_DATA to run this test")
    return folder


@pytest.fixture(scope="session")
def moto() -> Iterator[tuple[str, int]]:
    """Host and port of an S3 server on this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    yield server.get_host_and_port()
    server.stop()


@pytest.fixture
def s3(moto: tuple[str, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A client of that server with an empty bucket "bucket"; the environment points there."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*moto),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "GLIOFLOW_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    yield client
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="bucket"):
        for item in page.get("Contents", []):
            client.delete_object(Bucket="bucket", Key=item["Key"])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Take back what training does to its process: hypothesis needs the numbers nearest to 0."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_flush_denormal(False)
