"""Two writers of one ledger: the slow one, whose lock ran out, cannot write over the other."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from components.registry.ledger import (
    GENESIS,
    Entry,
    LedgerMovedError,
    append,
    read_ledger,
    verified,
)
from components.registry.ledger_claims import claim, claims
from components.registry.settings import PublishSettings
from components.registry.tracking import lock as tracking
from components.registry.tracking.store import connect


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


def test_a_lease_is_renewed_while_its_holder_works_and_never_taken_from_another(
    empty: PublishSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "LEASE_S", 0.9)
    store = replace(connect(empty), folder=None)

    def leases() -> dict[str, dict[str, str]]:
        found = store.client.search_registered_models(f"name LIKE '{tracking.LEASE_PREFIX}%'")
        return {model.name: dict(model.tags) for model in found}

    with tracking.exclusive(store):
        ((name, first),) = leases().items()
        for _ in range(100):
            if leases()[name]["until"] != first["until"]:
                break
            time.sleep(0.05)
        assert float(leases()[name]["until"]) > float(first["until"])
    assert not leases()
    with tracking.exclusive(store):
        (name,) = leases()
        store.client.set_registered_model_tag(name, "owner", "another")
    assert leases()[name]["owner"] == "another"
