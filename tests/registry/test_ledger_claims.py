"""Several writers of one ledger: slow, stopped or killed ones, none of which costs an entry."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from components.core.errors import BadInput
from components.registry import ledger_sync
from components.registry.ledger import (
    GENESIS,
    Aliases,
    Entry,
    LedgerMovedError,
    append,
    read_ledger,
    verified,
)
from components.registry.ledger_claims import claim, claims
from components.registry.ledger_sync import repair
from components.registry.settings import PublishSettings
from components.registry.tracking.store import connect
from tests.registry.servers import Servers


def test_a_writer_that_lost_its_lock_is_refused_and_appends_on_top(
    anywhere: PublishSettings,
) -> None:
    slow, fast = connect(anywhere), connect(anywhere)
    seen = read_ledger(slow)
    ledger = append(fast, read_ledger(fast), "promoted", "fast", {}, {})
    with pytest.raises(LedgerMovedError):
        append(slow, seen, "promoted", "slow", {}, {})
    ledger = append(fast, ledger, "promoted", "fast", {}, {"long": "x" * 9000})
    with pytest.raises(LedgerMovedError):
        append(slow, seen, "promoted", "slow", {}, {})
    assert read_ledger(slow) == ledger and not claims(slow)
    after = append(slow, read_ledger(slow), "promoted", "slow", {}, {})
    assert read_ledger(fast) == after
    assert [entry.actor for entry in after.entries] == ["fast", "fast", "slow"]


def test_an_entry_whose_writer_died_after_its_claim_is_kept(anywhere: PublishSettings) -> None:
    store = connect(anywhere)
    first = append(store, read_ledger(store), "promoted", "Ada", {}, {})
    dead = Entry(2, first.head, "2026-01-01T00:00:00.000", "promoted", "dead", {}, {})
    assert claim(store, 2, dead.to_json())
    assert not claim(store, 2, dead.to_json())
    seen = read_ledger(store)
    assert seen.entries[-1] == dead
    with pytest.raises(LedgerMovedError):
        append(store, first, "promoted", "late", {}, {})
    after = append(store, seen, "promoted", "Ada", {}, {})
    assert read_ledger(store) == after and not claims(store)
    assert [entry.actor for entry in after.entries] == ["Ada", "dead", "Ada"]


@pytest.mark.parametrize("continued", [False, True])
def test_two_entries_of_one_number_are_named_and_survived(continued: bool) -> None:
    entries = [
        Entry(1, GENESIS, f"2026-01-01T00:00:0{i}", "promoted", actor, {}, {})
        for i, actor in enumerate("AB")
    ]
    kept = entries[1] if continued else entries[0]
    other = entries[0] if continued else entries[1]
    chain = [*entries]
    if continued:
        chain.append(Entry(2, kept.hash, "2026-01-01T00:00:03", "promoted", "C", {}, {}))
    ledger = verified({f"{e.number:06d}-{e.hash}.json": e.to_json() for e in chain})
    assert (ledger.broken, ledger.entries[0]) == ("", kept)
    assert ledger.duplicates == (f"000001-{other.hash}.json",)
    assert len(ledger.entries) == len(chain) - 1


def test_two_entries_of_one_number_are_set_aside_by_repair(empty: PublishSettings) -> None:
    store = connect(empty)
    kept = append(store, read_ledger(store), "promoted", "Ada", {}, {}).entries[0]
    other = replace(kept, at="2999-01-01T00:00:00.000", actor="Eve")
    assert store.folder is not None
    (file,) = store.folder.rglob("000001-*.json")
    file.with_name(f"000001-{other.hash}.json").write_text(other.to_json())
    assert read_ledger(store).unresolved == (f"000001-{other.hash}.json",)
    (said,) = repair(empty.tracking_uri)
    assert other.hash in said
    ledger = read_ledger(store)
    assert (ledger.broken, ledger.unresolved, ledger.entries[0]) == ("", (), kept)
    assert ledger.entries[-1].event == "repaired" and len(ledger.duplicates) == 1
    assert not repair(empty.tracking_uri)


def test_a_changed_entry_is_not_repaired(empty: PublishSettings) -> None:
    store = connect(empty)
    append(store, read_ledger(store), "promoted", "Ada", {}, {})
    assert store.folder is not None
    (file,) = store.folder.rglob("000001-*.json")
    file.write_text(file.read_text().replace("Ada", "Eve"))
    with pytest.raises(BadInput, match="was changed"):
        repair(empty.tracking_uri)


def test_repair_completes_the_entry_of_a_killed_writer(anywhere: PublishSettings) -> None:
    store = connect(anywhere)
    dead = Entry(1, GENESIS, "2026-01-01T00:00:00.000", "promoted", "dead", {}, {})
    assert claim(store, 1, dead.to_json())
    assert repair(anywhere.tracking_uri) == ["1 entries of killed writers were completed"]
    assert read_ledger(store).entries == (dead,) and not claims(store)


def test_the_alias_of_the_newest_entry_stands_whoever_moves_last(
    empty: PublishSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow writer moves aliases after a faster one did, and then sees the newer entry."""
    store = connect(empty)
    moved: list[object] = []
    monkeypatch.setattr(ledger_sync, "_move_aliases", lambda _, wanted: moved.append(wanted))
    first: Aliases = {"glioma-idh": {"champion": "1"}}
    second: Aliases = {"glioma-idh": {"champion": "2"}}
    slow = append(store, read_ledger(store), "promoted", "slow", first, {})
    append(store, slow, "promoted", "fast", second, {})
    ledger_sync.apply_aliases(store, first)
    assert moved == [first, second]


def writers(uri: str, at_once: int, generations: int) -> list[str]:
    """Hashes that writers saw appended; each is killed a random moment after one of its entries.

    `at_once` write at the same time; where one was killed, the next begins.
    """

    def in_turn(seed: int) -> list[str]:
        rng = random.Random(seed)
        told = []
        for _ in range(generations):
            script = [sys.executable, "-m", "tests.registry.append_entries", uri]
            with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                told += [process.stdout.readline().strip() for _ in range(rng.randint(1, 5))]
                time.sleep(rng.uniform(0.0, 0.3))
                process.kill()
                # The last line may be cut short.
                told += [line for line in process.stdout.read().split() if len(line) == 64]
        return told

    with ThreadPoolExecutor(at_once) as pool:
        return [told for one in pool.map(in_turn, range(at_once)) for told in one]


def check_ledger(settings: PublishSettings, told: list[str]) -> None:
    repair(settings.tracking_uri)
    ledger = read_ledger(connect(settings))
    hashes = [entry.hash for entry in ledger.entries]
    assert (ledger.broken, ledger.duplicates) == ("", ())
    assert told and set(told) <= set(hashes) and len(told) == len(set(told))


def test_writers_killed_at_random_lose_nothing(empty: PublishSettings) -> None:
    check_ledger(empty, writers(empty.tracking_uri, 3, 2))


@pytest.mark.slow
@pytest.mark.parametrize("where", ["sqlite", "postgresql", "server"])
def test_eight_writers_killed_at_random_lose_nothing(
    where: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if where == "sqlite":
        settings: PublishSettings = request.getfixturevalue("empty")
    else:
        running: Servers = request.getfixturevalue("servers")
        running.wipe()
        settings = PublishSettings(tracking_uri=running.uri, attempts=5, patience_s=0.2)
        if where == "postgresql":
            root = str(tmp_path / "artifacts")
            settings = settings.model_copy(
                update={"tracking_uri": running.database, "artifact_root": root}
            )
    check_ledger(settings, writers(settings.tracking_uri, 8, 6))


@pytest.mark.slow
def test_a_writer_that_was_stopped_for_long_does_no_harm(empty: PublishSettings) -> None:
    script = [sys.executable, "-m", "tests.registry.append_entries", empty.tracking_uri]
    slow = subprocess.Popen(script, stdout=subprocess.PIPE, text=True)
    assert slow.stdout is not None and slow.stdout.readline()
    told: list[str] = []
    for _ in range(5):
        os.kill(slow.pid, signal.SIGSTOP)
        told += writers(empty.tracking_uri, 1, 1)
        os.kill(slow.pid, signal.SIGCONT)
        told.append(slow.stdout.readline().strip())
    slow.kill()
    told += slow.communicate(timeout=60)[0].split()
    check_ledger(empty, told)
