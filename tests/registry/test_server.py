"""The same promises on an MLflow server with PostgreSQL and S3 behind it."""

from __future__ import annotations

import pickle
import sys
import threading
import time
import zlib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from components.core.errors import BadInput
from components.core.files import sha256_tree
from components.registry.audit.audit import audit
from components.registry.ledger import read_ledger
from components.registry.ledger_store import claims
from components.registry.names import RegisteredModel
from components.registry.publish import publish_run
from components.registry.settings import PublishSettings
from components.registry.tracking.model_versions import fetch_repository
from components.registry.tracking.store import connect
from components.release import store as depot
from tests.registry.fabricated_run import fabricate
from tests.registry.servers import BUCKET, Servers, free_port
from tests.registry.test_faults import points, served_is_whole, start, visible_is_whole

pytestmark = pytest.mark.slow
RELEASE = RegisteredModel.RELEASE.value


@pytest.fixture(scope="module")
def uri(servers: Servers) -> str:
    servers.wipe()
    return servers.uri


@pytest.fixture
def export(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where releases are exported: the S3 server; only tests that ask for it get its keys."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", servers.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "export")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "export")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return f"s3://{BUCKET}/served"


@pytest.fixture(scope="module")
def settings(uri: str) -> PublishSettings:
    return PublishSettings(tracking_uri=uri)


def test_a_release_passes_audit_and_can_be_fetched(
    settings: PublishSettings, uri: str, tmp_path: Path
) -> None:
    run = fabricate(tmp_path / "a")
    done = publish_run(run, settings)
    assert done.promotion == "champion"
    report = audit(f"{RELEASE}@champion", uri)
    assert report.ok, [check for check in report.checks if not check.ok]
    served = fetch_repository("champion", uri, tmp_path / "served")
    assert sha256_tree(served) == sha256_tree(run.repository)
    assert publish_run(run, settings) == done


def test_tampering_through_the_api_is_found(
    settings: PublishSettings, uri: str, tmp_path: Path
) -> None:
    done = publish_run(fabricate(tmp_path / "b", seed=3, skill=2.7), settings)
    reference = f"{RELEASE}/{done.registered[RELEASE]}"
    assert audit(reference, uri).ok
    client = connect(settings).client
    run = client.get_run(str(done.mlflow_run_id))
    honest = run.data.metrics["snuh.hybrid.auroc.value"]
    client.log_metric(run.info.run_id, "snuh.hybrid.auroc.value", 0.999)
    broken = [check for check in audit(reference, uri).checks if not check.ok]
    assert [check.what for check in broken] == [
        "pipeline: 48 metrics as they were logged",
        "pipeline: history of metrics as they were logged",
    ]
    assert broken[0].expected == {"snuh.hybrid.auroc.value": pytest.approx(honest)}
    client.set_registered_model_alias(RELEASE, "champion", "1")
    assert any("aliases" in c.what for c in audit("1", uri).checks if not c.ok)
    (tmp_path / "manifest.csv").write_text("patient_id\n")
    client.log_artifact(run.info.run_id, str(tmp_path / "manifest.csv"))
    assert any("artifacts" in c.what for c in audit(reference, uri).checks if not c.ok)


def test_publishing_at_once(settings: PublishSettings, uri: str, tmp_path: Path) -> None:
    before = len(read_ledger(connect(settings)).entries)
    for index in range(2):
        fabricate(tmp_path / f"run{index}", seed=20 + index, skill=3.0)
    processes = [start(tmp_path / f"run{index}", uri) for index in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    ledger = read_ledger(connect(settings))
    assert ledger.broken == ""
    assert len([e for e in ledger.entries[before:] if e.event == "registered"]) == 2
    newest = ledger.entries[-1].details["versions"][RELEASE]["version"]
    assert audit(f"{RELEASE}/{newest}", uri).ok
    assert not claims(connect(settings))


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


OBJECTS = {
    "weights": ("models/{segmenter}/artifacts/artifacts/files/segmenter/*.safetensors", "model"),
    "config.pbtxt": ("models/{release}/artifacts/artifacts/files/repository/*.pbtxt", "model"),
    "plan": ("models/{release}/artifacts/artifacts/files/plan.json", "model"),
    "model code": ("models/{release}/artifacts/stored_model.py", "model"),
    "manifest": ("{run}/artifacts/manifest.csv", "pipeline:"),
    "predictions": ("{run}/artifacts/predictions.csv", "pipeline:"),
    "verdict": ("{run}/artifacts/gate.json", "run: gate.json"),
}
"""Objects of the newest release, by name, and the link that breaks when one byte changes."""

ROWS = {
    "metric": (
        "UPDATE latest_metrics SET value = {new} WHERE key = 'snuh.hybrid.auroc.value' "
        "AND run_uuid = '{run}'",
        "SELECT value FROM latest_metrics WHERE key = 'snuh.hybrid.auroc.value' "
        "AND run_uuid = '{run}'",
        "0.999",
        "metrics as they were logged",
    ),
    "parameter": (
        "UPDATE params SET value = {new} WHERE key = 'trained_on' AND run_uuid = '{run}'",
        "SELECT value FROM params WHERE key = 'trained_on' AND run_uuid = '{run}'",
        "'phantoms'",
        "parameters as they were logged",
    ),
    "versions swapped": (
        "UPDATE model_versions SET source = {new} WHERE name = 'glioma-idh' "
        "AND version = {version}",
        "SELECT source FROM model_versions WHERE name = 'glioma-idh' AND version = {version}",
        "(SELECT source FROM model_versions WHERE name = 'glioma-idh' AND version = 1)",
        "is what was registered",
    ),
}
"""Rows of the newest release: how one is changed, how it is read, to what, and what breaks."""


@pytest.fixture(scope="module")
def newest(settings: PublishSettings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Ids of a release of its own."""
    root = tmp_path_factory.mktemp("newest")
    done = publish_run(fabricate(root / "run", seed=40, skill=3.1), settings)
    entry = read_ledger(connect(settings)).entries[-1]
    models = entry.details["versions"]
    return {
        "run": str(done.mlflow_run_id),
        "version": done.registered[RELEASE],
        "release": models[RELEASE]["source"].removeprefix("models:/"),
        "segmenter": models["glioma-segmenter"]["source"].removeprefix("models:/"),
    }


def broken(newest: dict[str, str], uri: str) -> list[str]:
    report = audit(f"{RELEASE}/{newest['version']}", uri)
    return [check.what for check in report.checks if not check.ok]


@pytest.mark.parametrize("case", OBJECTS)
def test_one_byte_in_s3_is_found(
    servers: Servers, newest: dict[str, str], uri: str, case: str
) -> None:
    pattern, link = OBJECTS[case]
    s3 = servers.s3()
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    keys = [item["Key"] for page in pages for item in page["Contents"]]
    wanted = f"*/{pattern.format(**newest)}"
    key = next(key for key in keys if fnmatch(key, wanted))
    content = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    s3.put_object(Bucket=BUCKET, Key=key, Body=_flip(content))
    try:
        found = broken(newest, uri)
    finally:
        s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    assert any(link in what for what in found), found
    assert broken(newest, uri) == []


@pytest.mark.parametrize("case", ROWS)
def test_one_row_in_postgresql_is_found(
    servers: Servers, newest: dict[str, str], uri: str, case: str
) -> None:
    change, read, new, link = ROWS[case]
    ((old,),) = servers.sql(read.format(**newest))
    servers.sql(change.format(new=new, **newest))
    try:
        found = broken(newest, uri)
    finally:
        servers.sql(change.format(new=":old", **newest), {"old": old})
    assert any(link in what for what in found), found
    assert broken(newest, uri) == []


def test_a_run_with_a_pickle_reaches_no_server(
    settings: PublishSettings, servers: Servers, tmp_path: Path
) -> None:
    run = fabricate(tmp_path / "run", seed=42)
    (run.segmenter / "member_9.pkl").write_bytes(pickle.dumps([1]))
    before = servers.sql("SELECT count(*) FROM runs")
    with pytest.raises(BadInput, match="refused"):
        publish_run(run, settings)
    assert servers.sql("SELECT count(*) FROM runs") == before


@pytest.mark.parametrize("call", points(seed=11, count=17))
def test_killed_anywhere(
    settings: PublishSettings, uri: str, export: str, tmp_path: Path, call: str
) -> None:
    before = len(connect(settings).client.search_model_versions(f"name = '{RELEASE}'"))
    run = fabricate(tmp_path / "run", seed=zlib.crc32(call.encode()), skill=4.0)
    process = start(tmp_path / "run", uri, call, export)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -9, errors
    visible_is_whole(uri, settings, range(before + 1, before + 3))
    if depot.current(export) is not None:
        screened = depot.fetch(export, tmp_path / "before")
        assert screened.is_dir()
    done = publish_run(run, settings.model_copy(update={"export": export}))
    report = audit(f"{RELEASE}/{done.registered[RELEASE]}", uri)
    assert report.ok, [check for check in report.checks if not check.ok]
    if done.promotion == "champion":
        served_is_whole(export, tmp_path / "after", run)


def test_an_outage_in_the_middle_is_survived(tmp_path: Path) -> None:
    """The server starts only after publishing has begun: the attempts bridge the gap."""
    import subprocess

    port = free_port()
    fabricate(tmp_path / "run")
    waiting = PublishSettings(tracking_uri=f"http://127.0.0.1:{port}", attempts=12, patience_s=0.5)
    database = f"sqlite:///{tmp_path}/late.db"
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port)]
    command += ["--backend-store-uri", database, "--artifacts-destination", str(tmp_path / "a")]
    command += ["--workers", "1"]
    started: list[subprocess.Popen[bytes]] = []

    def late() -> None:
        time.sleep(3)
        started.append(subprocess.Popen(command, start_new_session=True))

    thread = threading.Thread(target=late)
    thread.start()
    try:
        from tests.registry.publish_once import artifacts_of

        assert publish_run(artifacts_of(tmp_path / "run"), waiting).promotion == "champion"
    finally:
        thread.join()
        import os

        os.killpg(started[0].pid, 15)
        started[0].wait(timeout=30)
