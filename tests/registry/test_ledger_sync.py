"""Two entries of one number, aliases left behind: how each is told, and settled on record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from components.core.errors import BadInput, Outage
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
from components.registry.ledger_store import claim, claims
from components.registry.ledger_sync import repair
from components.registry.promote import rollback
from components.registry.settings import PublishSettings
from components.registry.tracking.store import TrackingStore, connect


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
    _put(store, other)
    assert read_ledger(store).unresolved == (f"000001-{other.hash}.json",)
    (said,) = repair(empty.tracking_uri)
    assert other.hash in said
    ledger = read_ledger(store)
    assert (ledger.broken, ledger.unresolved, ledger.entries[0]) == ("", (), kept)
    assert ledger.entries[-1].event == "repaired" and len(ledger.duplicates) == 1
    assert not repair(empty.tracking_uri)


def _chain(number: int, previous: str, *actors: str) -> list[Entry]:
    """Entries that follow each other, written a second apart."""
    made: list[Entry] = []
    for actor in actors:
        at = f"2026-01-01T00:00:{number:02d}"
        made.append(Entry(number, previous, at, "promoted", actor, {}, {}))
        number, previous = number + 1, made[-1].hash
    return made


def test_of_two_chains_the_longer_counts_whichever_began_first() -> None:
    """Two writers of a store whose lock had a hole built two histories from one entry on."""
    (root,) = _chain(1, GENESIS, "root")
    early = _chain(2, root.hash, "A", "A")
    late = _chain(2, root.hash, "B", "B", "B")
    ledger = verified({e.file: e.to_json() for e in (root, *early, *late)})
    assert (ledger.broken, ledger.entries) == ("", (root, *late))
    assert ledger.duplicates == tuple(entry.file for entry in early)
    counts, other = late[0].file, early[0].file
    assert f"entry 2 is there twice: {counts} counts, {other} does not" in ledger.disputed


def test_nothing_is_decided_on_a_disputed_ledger(empty: PublishSettings) -> None:
    store = connect(empty)
    kept = append(store, read_ledger(store), "promoted", "Ada", {}, {}).entries[0]
    other = replace(kept, at="2999-01-01T00:00:00.000", actor="Eve")
    _put(store, other)
    with pytest.raises(BadInput, match=r"entry 1 is there twice.*glioflow repair"):
        rollback("glioma-idh", empty.tracking_uri)
    with pytest.raises(RuntimeError, match="disputed"):
        append(store, read_ledger(store), "promoted", "Ada", {}, {})
    repair(empty.tracking_uri)
    with pytest.raises(BadInput, match="no earlier champion"):
        rollback("glioma-idh", empty.tracking_uri)


def test_a_loser_tries_again_and_not_for_ever(
    empty: PublishSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("components.registry.ledger.time.sleep", pauses.append)
    monkeypatch.setattr("components.registry.promote.settle", _always_late)
    store = connect(empty)
    append(store, read_ledger(store), "promoted", "Ada", {}, {})
    with pytest.raises(Outage, match="other writers were first 20 times"):
        rollback("glioma-idh", empty.tracking_uri)
    assert len(pauses) == 20 and len(set(pauses)) > 10 and max(pauses) <= 8


def _always_late(*args: object) -> None:
    raise LedgerMovedError


def _put(store: TrackingStore, entry: Entry) -> None:
    """Put an entry's file beside that of its number."""
    assert store.folder is not None
    (file,) = store.folder.rglob(f"{entry.number:06d}-*.json")
    file.with_name(entry.file).write_text(entry.to_json())


def test_aliases_that_a_killed_writer_left_are_no_tampering(
    empty: PublishSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the entry before are completed; those of nobody are put back on record."""
    store = connect(empty)
    moved: list[object] = []
    monkeypatch.setattr(ledger_sync, "_move_aliases", lambda _, wanted: moved.append(wanted))
    one: Aliases = {"glioma-idh": {"champion": "1"}}
    two: Aliases = {"glioma-idh": {"champion": "2"}}
    ledger = append(store, read_ledger(store), "promoted", "done", one, {})
    ledger_sync.apply_aliases(store, one)
    ledger = append(store, ledger, "promoted", "killed", two, {})
    assert ledger_sync.settle(store, ledger) == ledger and moved == [one, two]
    after = ledger_sync.settle(store, ledger)
    assert after.entries[-1].event == "repaired" and len(moved) == 3


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
