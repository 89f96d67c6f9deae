"""The ledger: what each kind of damage looks like."""

from __future__ import annotations

import json

import pytest

from components.core.errors import BadInput
from components.registry.ledger import GENESIS, Entry, append, read_ledger, verified
from components.registry.publish import publish_run
from components.registry.settings import PublishSettings
from components.registry.tracking.store import connect
from tests.registry.fabricated_run import fabricate


def _files(count: int = 4) -> dict[str, str]:
    files, previous = {}, GENESIS
    for number in range(1, count + 1):
        entry = Entry(number, previous, "2026-01-01T00:00:00", "promoted", "Ada", {}, {"n": number})
        files[f"{number:06d}-{entry.hash}.json"] = entry.to_json()
        previous = entry.hash
    return files


def test_an_untouched_ledger_is_whole() -> None:
    ledger = verified(_files())
    assert (ledger.broken, len(ledger.entries)) == ("", 4)
    assert verified({}).head == GENESIS


@pytest.mark.parametrize("index", range(4))
def test_a_changed_entry_is_found(index: int) -> None:
    files = _files()
    name = sorted(files)[index]
    files[name] = files[name].replace("Ada", "Bob")
    ledger = verified(files)
    assert "was changed" in ledger.broken and len(ledger.entries) == index


@pytest.mark.parametrize("index", range(3))
def test_a_missing_entry_is_found(index: int) -> None:
    files = _files()
    del files[sorted(files)[index]]
    assert verified(files).broken == f"entry {index + 1} is missing"


def test_a_consistent_forgery_breaks_the_next_link() -> None:
    files = _files()
    name = sorted(files)[1]
    forged = Entry(**{**json.loads(files.pop(name)), "actor": "Bob"})
    files[f"000002-{forged.hash}.json"] = forged.to_json()
    assert "does not follow" in verified(files).broken


def test_foreign_and_unreadable_files_are_found() -> None:
    assert "not a ledger entry" in verified({**_files(), "notes.txt": "x"}).broken
    name = sorted(_files())[0]
    assert "cannot be read" in verified({name: "{"}).broken


def test_nothing_is_built_on_a_broken_ledger(empty: PublishSettings, tmp_path) -> None:
    store = connect(empty)
    ledger = append(store, read_ledger(store), "promoted", "Ada", {}, {})
    assert read_ledger(store) == ledger
    entry = next((tmp_path / "shop").rglob("000001-*.json"))
    entry.write_text(entry.read_text().replace("Ada", "Bob"))
    broken = read_ledger(store)
    with pytest.raises(RuntimeError, match="broken"):
        append(store, broken, "promoted", "Ada", {}, {})
    with pytest.raises(BadInput, match="was changed"):
        publish_run(fabricate(tmp_path / "a"), empty)


def test_champions_after_roll_backs() -> None:
    def entry(event: str, version: str) -> Entry:
        return Entry(1, "", "", event, "", {"glioma-idh": {"champion": version}}, {})

    from components.registry.ledger import Ledger

    def history(*events: Entry) -> list[str]:
        return [held["glioma-idh"] for held in Ledger(events).champions]

    first, second = entry("registered", "1"), entry("registered", "2")
    refused = entry("registered", "2")
    assert history(first, second, refused) == ["1", "2"]
    back = entry("rolled_back", "1")
    assert history(first, second, back) == ["1"]
    assert history(first, second, back, entry("promoted", "2")) == ["1", "2"]
