"""Killed, doubled and cut off: no half-visible release, and a second try completes the first."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from components.core.errors import BadInput
from components.core.files import read_json, sha256_tree
from components.registry.audit.audit import audit
from components.registry.delivery import deliver
from components.registry.gate.verdict import Published
from components.registry.ledger import Ledger, read_ledger
from components.registry.ledger_sync import found_aliases, settle
from components.registry.names import RegisteredModel
from components.registry.pending import pending_runs, publish_or_keep, resume
from components.registry.publish import publish_run
from components.registry.run_artifacts import RunArtifacts
from components.registry.settings import PublishSettings
from components.registry.tracking.model_versions import resolve
from components.registry.tracking.store import StoreUnreachable, TrackingStore, connect
from components.release import store as depot
from tests.registry.fabricated_run import fabricate
from tests.registry.shop import Shop

SCRIPT = Path(__file__).with_name("publish_once.py")
ROOT = Path(__file__).resolve().parents[2]
RELEASE = RegisteredModel.RELEASE.value
CALLS = 180
"""A publish makes a few more calls than this to the store and to the place of export."""

EXPORTING = ("put:2", "digest:3", "write:1")
"""While files are copied there, while they are read back, before readers are pointed at them."""


def points(seed: int, count: int) -> list[str]:
    """Where to kill: random calls of a publish, and those of an export."""
    return [*map(str, sorted(random.Random(seed).sample(range(1, CALLS), count))), *EXPORTING]


LATE = re.compile(
    r"aliases are where the ledger put them$|: serves the champion$|^pipeline: \d+ tags as"
)
"""Links of the audit that come last."""


def start(run: Path, uri: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(run), uri, *more]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def visible_is_whole(uri: str, settings: PublishSettings, versions: range = range(1, 5)) -> None:
    """Whatever can be resolved passes audit; aliases, export and the run's end may come later."""
    store = connect(settings)
    for reference in (f"{RELEASE}@champion", *(f"{RELEASE}/{v}" for v in versions)):
        try:
            resolve(store, reference)
        except BadInput:
            continue
        broken = [c.what for c in audit(reference, uri).checks if not c.ok]
        assert all(LATE.search(what) for what in broken), (reference, broken)


def served_is_whole(export: str, scratch: Path, *runs: RunArtifacts) -> None:
    """What servers fetch from there is one of these runs' releases, byte for byte."""
    fetched = sha256_tree(depot.fetch(export, scratch))
    assert fetched in [sha256_tree(run.repository) for run in runs]


@pytest.mark.slow
@pytest.mark.parametrize("call", points(seed=7, count=20))
def test_killed_anywhere_nothing_half_is_visible(
    tampered: Callable[[], Shop], tmp_path: Path, call: str
) -> None:
    shop = tampered()
    third, export = fabricate(tmp_path / "third", seed=9, skill=3.0), str(tmp_path / "served")
    settings = shop.settings.model_copy(update={"export": export})
    assert deliver(connect(settings), export) == shop.published[1].release
    process = start(tmp_path / "third", shop.uri, call, export)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, errors
    visible_is_whole(shop.uri, shop.settings)
    served_is_whole(export, tmp_path / "before", shop.runs[1], third)
    assert resolve(connect(shop.settings), RELEASE).version in ("2", "3", 2, 3)
    done = publish_run(third, settings)
    served_is_whole(export, tmp_path / "after", third)
    assert done.registered == dict.fromkeys(RegisteredModel, "3")
    assert done.promotion == "champion"
    assert audit(RELEASE, shop.uri).ok
    assert [e.event for e in read_ledger(connect(shop.settings)).entries] == ["registered"] * 3


@pytest.mark.parametrize(("before", "entries"), [("_apply_gate", 2), ("project", 3)])
def test_killed_around_the_ledger_entry_is_completed(
    tampered: Callable[[], Shop],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    entries: int,
) -> None:
    """With versions made and no entry, or with the entry and no alias moved."""
    shop = tampered()
    run = fabricate(tmp_path / "third", seed=9, skill=3.0)

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"components.registry.publish.{before}", killed)
        with pytest.raises(KeyboardInterrupt):
            publish_run(run, shop.settings)
    store = connect(shop.settings)
    assert len(read_ledger(store).entries) == entries
    visible_is_whole(shop.uri, shop.settings)
    assert found_aliases(store)[RELEASE]["champion"] == "2"
    with pytest.raises(BadInput, match="never published to the end"):
        resolve(store, f"{RELEASE}/3")
    done = publish_run(run, shop.settings)
    assert (done.promotion, done.registered) == ("champion", dict.fromkeys(RegisteredModel, "3"))
    assert found_aliases(store)[RELEASE]["champion"] == "3"
    report = audit(RELEASE, shop.uri)
    assert report.ok, [check for check in report.checks if not check.ok]


def test_who_judges_the_same_run_otherwise_but_too_late_overwrites_nothing(
    tampered: Callable[[], Shop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher is stopped; another, asked the same with an approval, publishes meanwhile."""
    shop = tampered()
    run = fabricate(tmp_path / "third", seed=9, skill=3.0)
    approved = shop.settings.model_copy(update={"approve": "Ada: reviewed"})
    first: list[Published] = []

    def stopped(store: TrackingStore, ledger: Ledger) -> Ledger:
        if not first:
            monkeypatch.setattr("components.registry.publish.settle", settle)
            first.append(publish_run(run, approved))
        return settle(store, ledger)

    monkeypatch.setattr("components.registry.publish.exclusive", nullcontext)
    monkeypatch.setattr("components.registry.publish.settle", stopped)
    assert publish_run(run, shop.settings) == first[0]
    report = audit(f"{RELEASE}/{first[0].registered[RELEASE]}", shop.uri)
    assert report.ok, [check for check in report.checks if not check.ok]


@pytest.mark.slow
def test_publishing_at_once_into_a_cold_store(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    for index in range(3):
        fabricate(tmp_path / f"run{index}", seed=index, skill=2.5 + 0.3 * index)
    processes = [start(tmp_path / f"run{index}", uri) for index in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    store = connect(PublishSettings(tracking_uri=uri))
    ledger = read_ledger(store)
    assert [entry.event for entry in ledger.entries] == ["registered"] * 3
    assert len({entry.details["run_id"] for entry in ledger.entries}) == 3
    versions = [entry.details["versions"][RELEASE]["version"] for entry in ledger.entries]
    assert versions == ["1", "2", "3"]
    for version in versions:
        assert audit(f"{RELEASE}/{version}", uri).ok


@pytest.mark.slow
def test_the_same_run_published_twice_at_once_is_one_release(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    fabricate(tmp_path / "run")
    processes = [start(tmp_path / "run", uri) for _ in range(2)]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [out for out, _ in outputs] == ["1\n", "1\n"], outputs
    assert audit(f"{RELEASE}/1", uri).ok


def test_a_run_is_kept_while_the_store_is_away(tmp_path: Path, anywhere: PublishSettings) -> None:
    away = anywhere.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    run = fabricate(tmp_path / "run")
    out = tmp_path / "out" / "published"
    kept = publish_or_keep(run, away, out)
    assert (kept.mlflow_run_id, kept.gate.passed) == (None, False)
    assert read_json(out / "published.json")["pending"] == "pending"
    assert pending_runs(tmp_path / "out") == [out]
    with pytest.raises(StoreUnreachable):
        resume(tmp_path / "out")
    shutil.rmtree(tmp_path / "run")
    (sent,) = resume(tmp_path / "out", anywhere.tracking_uri)
    assert sent.promotion == "champion"
    assert read_json(out / "published.json")["mlflow_run_id"] == sent.mlflow_run_id
    assert audit(RELEASE, anywhere.tracking_uri).ok
    with pytest.raises(BadInput, match="no run that waits"):
        resume(tmp_path / "out")


@pytest.mark.parametrize("uri", ["", "file:///tmp/x", "ftp://host", "mongodb://x"])
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(BadInput, match="tracking_uri"):
        connect(PublishSettings(tracking_uri=uri))
