"""The same promises on an MLflow server with PostgreSQL and S3 behind it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.cohort.files import sha256_tree
from components.publish.audit import audit
from components.publish.ledger import read_ledger
from components.publish.names import RegisteredModel
from components.publish.projection import found_aliases
from components.publish.promote import rollback
from components.publish.publish import publish_run
from components.publish.registry import fetch_repository
from components.publish.settings import PublishSettings
from components.publish.store import LEASE_PREFIX, connect, exclusive
from tests.publish.fabricated_run import fabricate
from tests.publish.servers import free_port, mlflow_on_postgres_and_s3, postgres_binaries
from tests.publish.test_publish_faults import start, visible_is_whole

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        postgres_binaries() is None,
        reason="no PostgreSQL server here: apt-get install postgresql to run this test",
    ),
]
RELEASE = RegisteredModel.RELEASE.value


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name, raising=False)
        root = tmp_path_factory.mktemp("server")
        with mlflow_on_postgres_and_s3(root, free_port()) as address:
            yield address


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


def test_roll_back(settings: PublishSettings, uri: str, tmp_path: Path) -> None:
    publish_run(fabricate(tmp_path / "c", seed=4, skill=2.9), settings)
    version = rollback(RELEASE, uri, "test")
    assert found_aliases(connect(settings))[RELEASE]["champion"] == version
    assert read_ledger(connect(settings)).entries[-1].event == "rolled_back"


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
    assert not connect(settings).client.search_registered_models(f"name LIKE '{LEASE_PREFIX}%'")


@pytest.mark.parametrize("call", [20, 75, 111, 125, 140])
def test_killed_anywhere(settings: PublishSettings, uri: str, tmp_path: Path, call: int) -> None:
    before = len(connect(settings).client.search_model_versions(f"name = '{RELEASE}'"))
    run = fabricate(tmp_path / "run", seed=100 + call, skill=3.0)
    process = start(tmp_path / "run", uri, str(call))
    process.communicate(timeout=120)
    assert process.returncode == -9
    visible_is_whole(uri, settings, range(before + 1, before + 3))
    client = connect(settings).client
    for lease in client.search_registered_models(f"name LIKE '{LEASE_PREFIX}%'"):
        # The dead holder's lease runs out now rather than in minutes.
        client.set_registered_model_tag(lease.name, "until", "0")
    done = publish_run(run, settings)
    assert audit(f"{RELEASE}/{done.registered[RELEASE]}", uri).ok


def test_the_lock_of_a_server_excludes(settings: PublishSettings) -> None:
    inside, most = 0, 0
    guard = threading.Lock()

    def hold() -> None:
        nonlocal inside, most
        with exclusive(connect(settings)):
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(0.2)
            with guard:
                inside -= 1

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert (inside, most) == (0, 1)


def test_an_outage_in_the_middle_is_survived(tmp_path: Path) -> None:
    """The server starts only after publishing has begun: the attempts bridge the gap."""
    import subprocess

    port = free_port()
    fabricate(tmp_path / "run")
    waiting = PublishSettings(
        tracking_uri=f"http://127.0.0.1:{port}", attempts=12, patience_s=0.5, hash_images=False
    )
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
        from tests.publish.publish_once import artifacts_of

        assert publish_run(artifacts_of(tmp_path / "run"), waiting).promotion == "champion"
    finally:
        thread.join()
        import os

        os.killpg(started[0].pid, 15)
        started[0].wait(timeout=30)
