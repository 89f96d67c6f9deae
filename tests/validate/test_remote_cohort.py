"""A cohort in S3 is the same cohort: over real HTTP, from a local server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from components.cohort.errors import Outage
from components.cohort.manifest import read_manifest
from components.validate.validate import validate_manifest
from tests.validate.factories import SETTINGS, Cohort

BUCKET = "cohorts"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "GLIOFLOW_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    server.stop()


def test_from_s3_the_same_patients_are_accepted(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = Cohort(tmp_path / "cohort")
    manifest = cohort.write()
    for file in cohort.folder.iterdir():
        s3.upload_file(str(file), BUCKET, f"export/{file.name}")
    s3.delete_object(Bucket=BUCKET, Key="export/p3_t1c.nii.gz")
    cohort.image("p3_t1c.nii.gz").unlink()
    here = validate_manifest(manifest, SETTINGS, tmp_path / "here")
    there = validate_manifest("s3://cohorts/export/manifest.csv", SETTINGS, tmp_path / "there")
    assert list(there.report["reasons"]) == list(here.report["reasons"]) == ["p3"]
    assert there.report["reasons"]["p3"] == ["t1c: no such object in S3"]
    for name in ("accepted_content_sha256", "splits_sha256", "manifest_sha256", "accepted"):
        assert there.report[name] == here.report[name]
    first = read_manifest(there.accepted)[0]
    assert first.t1c == "s3://cohorts/export/p0_t1c.nii.gz"
    # A server that goes away is nobody's fault: nobody is quarantined for it.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Outage):
        validate_manifest("s3://cohorts/export/manifest.csv", SETTINGS, tmp_path / "away")
    assert not (tmp_path / "away").exists()


def test_the_content_digest_tells_cohorts_apart(tmp_path: Path) -> None:
    cohort = Cohort(tmp_path / "cohort")
    digests = set()
    for change in ("nothing", "age", "image"):
        if change == "age":
            cohort.rows[2]["age"] = "51"
        if change == "image":
            cohort.spoil("p2_t1c.nii.gz", lambda image: image + 1)
        report = validate_manifest(cohort.write(), SETTINGS, tmp_path / change).report
        digests.add(report["accepted_content_sha256"])
    assert len(digests) == 3
