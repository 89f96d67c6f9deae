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
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from components.registry.ledger import (
    GENESIS,
    Entry,
    Ledger,
    LedgerMovedError,
    append,
    read_ledger,
    verified,
)
from components.registry.ledger_store import EXPERIMENT, claim, claims, file_name
from components.registry.ledger_sync import repair
from components.registry.names import STEP
from components.registry.settings import PublishSettings
from components.registry.tracking.store import TrackingStore, connect
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


def test_an_entry_that_another_process_stored_is_ones_own(
    empty: PublishSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer stopped right after its claim is no loser: a roll-back would be done twice."""
    store = connect(empty)

    def stopped(where: TrackingStore, number: int, content: str) -> bool:
        won = claim(where, number, content)
        append_once(empty, "other")
        return won

    ledger = read_ledger(store)
    monkeypatch.setattr("components.registry.ledger.claim", stopped)
    mine = append(store, ledger, "promoted", "mine", {}, {})
    assert [entry.actor for entry in mine.entries] == ["mine"]
    assert [entry.actor for entry in read_ledger(store).entries] == ["mine", "other"]


def test_a_claim_whose_answer_was_lost_is_ones_own(
    empty: PublishSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of a server repeats its request, and hears that the claim is there already."""
    store = connect(empty)

    def twice(where: TrackingStore, number: int, content: str) -> bool:
        return claim(where, number, content) and claim(where, number, content)

    monkeypatch.setattr("components.registry.ledger.claim", twice)
    assert append(store, read_ledger(store), "promoted", "mine", {}, {}).entries
    assert len(read_ledger(store).entries) == 1


def test_two_writers_that_decide_alike_at_once_write_two_entries(
    empty: PublishSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal but for their fencing tokens, so that one of them knows that it lost."""
    store = connect(empty)
    monkeypatch.setattr("components.registry.ledger.datetime", _Stopped)
    seen = read_ledger(store)
    first = append(store, seen, "promoted", "Ada", {}, {})
    with pytest.raises(LedgerMovedError):
        append(store, seen, "promoted", "Ada", {}, {})
    assert read_ledger(store) == first


class _Stopped(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> _Stopped:
        return cls(2026, 1, 1, tzinfo=tz)


def test_entries_of_old_have_no_token_and_the_hash_they_had() -> None:
    text = (
        '{"actor":"Ada","aliases":{},"at":"2026-01-01T00:00:00","details":{},"event":"promoted",'
        f'"number":1,"previous":"{GENESIS}"}}'
    )
    name = file_name(1, text)
    ledger = verified({name: text})
    assert (ledger.broken, ledger.entries[0].file, ledger.entries[0].token) == ("", name, "")


def test_entries_in_the_runs_of_two_first_writers_are_one_ledger(empty: PublishSettings) -> None:
    """Both found no run of the ledger and made one; the second's began earlier by its clock."""
    store = connect(empty)
    first = append(store, read_ledger(store), "promoted", "Ada", {}, {})
    experiment = store.client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    store.client.create_run(experiment.experiment_id, start_time=1, tags={STEP: "ledger"})
    assert read_ledger(store) == first
    second = append(store, first, "promoted", "Ada", {}, {})
    assert read_ledger(store) == second


def test_a_claim_that_is_released_while_mlflow_refuses_another_is_lost(
    empty: PublishSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow looks up the name that was there already, and finds it gone."""
    from mlflow.exceptions import RestException

    store = connect(empty)

    def refused(*args: object, **kwargs: object) -> None:
        raise RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"})

    with monkeypatch.context() as patch:
        patch.setattr(store.client, "create_registered_model", refused)
        with pytest.raises(LedgerMovedError):
            append(store, read_ledger(store), "promoted", "Ada", {}, {})
    assert append_once(empty, "Ada").entries


def append_once(settings: PublishSettings, actor: str) -> Ledger:
    """Append after the newest entry, with the true `claim`."""
    store = connect(settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.registry.ledger.claim", claim)
        return append(store, read_ledger(store), "promoted", actor, {}, {})


def test_the_ledger_of_a_database_lies_where_the_files_of_runs_do(
    empty: PublishSettings, tmp_path: Path
) -> None:
    """Writers on two machines of one PostgreSQL each had a folder of their own."""
    settings = empty.model_copy(update={"artifact_root": str(tmp_path / "shared")})
    store = replace(connect(settings), folder=None)
    (entry,) = append(store, read_ledger(store), "promoted", "Ada", {}, {}).entries
    assert [file.name for file in (tmp_path / "shared").rglob("*.json")] == [entry.file]


def writers(settings: PublishSettings, at_once: int, generations: int) -> list[str]:
    """Hashes that writers saw appended; each is killed a random moment after one of its entries.

    `at_once` write at the same time; where one was killed, the next begins.
    """

    def in_turn(seed: int) -> list[str]:
        rng = random.Random(seed)
        told: list[str] = []
        for _ in range(generations):
            script = [sys.executable, "-m", "tests.registry.append_entries"]
            script += [settings.tracking_uri, settings.artifact_root]
            with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                for _ in range(rng.randint(1, 5)):
                    told.append(process.stdout.readline().strip())
                time.sleep(rng.uniform(0.0, 0.3))
                process.kill()
                told += process.stdout.read().split()
        # MLflow's client writes there, too; the last line may be cut short.
        return [line for line in told if len(line) == 64]

    with ThreadPoolExecutor(at_once) as pool:
        return [told for one in pool.map(in_turn, range(at_once)) for told in one]


def check_ledger(settings: PublishSettings, told: list[str]) -> None:
    repair(settings.tracking_uri)
    ledger = read_ledger(connect(settings))
    hashes = [entry.hash for entry in ledger.entries]
    assert (ledger.broken, ledger.duplicates) == ("", ())
    assert told and set(told) <= set(hashes) and len(told) == len(set(told))


def test_writers_killed_at_random_lose_nothing(empty: PublishSettings) -> None:
    check_ledger(empty, writers(empty, 3, 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "generations"), [("sqlite", 6), ("postgresql", 6), ("server", 2)]
)
def test_eight_writers_killed_at_random_lose_nothing(
    where: str, generations: int, request: pytest.FixtureRequest, tmp_path: Path
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
    check_ledger(settings, writers(settings, 8, generations))


@pytest.mark.slow
def test_a_writer_that_was_stopped_for_long_does_no_harm(empty: PublishSettings) -> None:
    script = [sys.executable, "-m", "tests.registry.append_entries", empty.tracking_uri]
    slow = subprocess.Popen(script, stdout=subprocess.PIPE, text=True)
    assert slow.stdout is not None and slow.stdout.readline()
    told: list[str] = []
    for _ in range(5):
        os.kill(slow.pid, signal.SIGSTOP)
        told += writers(empty, 1, 1)
        os.kill(slow.pid, signal.SIGCONT)
        told.append(slow.stdout.readline().strip())
    slow.kill()
    told += slow.communicate(timeout=60)[0].split()
    check_ledger(empty, told)
