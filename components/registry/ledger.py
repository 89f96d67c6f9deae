"""The append-only record of what was registered, promoted, refused and rolled back, and by whom.

MLflow keeps no history of aliases, and its tags and finished runs stay writable. So each event is
one small JSON file, named by its number and hash, in the artifacts of a run of its own; each holds
the hash of the one before. Rewriting or removing an entry breaks every hash after it, and the
versions in the registry carry the hash of the entry that recorded them.

Nobody locks it. A writer reads, decides, and appends the number after the newest that it read; of
several writers of one number `ledger_store` lets one win, and the others read and decide anew.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from components.registry.ledger_store import claim, file_name, store_claimed, stored_entries
from components.registry.names import Alias, RegisteredModel
from components.registry.tracking.store import StoreUnreachable, TrackingStore

GENESIS = "0" * 64
"""`previous` of the first entry."""

RULE = "the longer chain counts; of equal ones, what was written first; then the smaller hash"
"""Which of two entries of one number counts."""

_TRIES = 20
_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 8.0
_NAME = re.compile(r"(\d{6})-([0-9a-f]{64})\.json")

Aliases = dict[str, dict[str, str]]
"""Registered model -> alias -> version."""


@dataclass(frozen=True)
class Entry:
    """One event. `aliases` is what every alias must be once the event is done.

    Attributes:
        number: 1 for the first.
        previous: hash of the entry before, or GENESIS.
        at: UTC, ISO 8601.
        event: registered | promoted | refused | approved | approvers | rolled_back | repaired.
        actor: person or process.
        details: what the event is about.
        token: fencing token, drawn by the writer for this attempt: no two entries are equal, so a
            writer knows its own, also where another process stored it. Entries of old have none.
    """

    number: int
    previous: str
    at: str
    event: str
    actor: str
    aliases: Aliases
    details: dict[str, Any]
    token: str = ""

    def to_json(self) -> str:
        """Canonical JSON: the bytes whose sha256 is the entry's hash; no empty token."""
        content = {key: value for key, value in vars(self).items() if key != "token" or value}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def hash(self) -> str:
        """sha256 (hex) of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def file(self) -> str:
        """Name of its file."""
        return file_name(self.number, self.to_json())

    @property
    def versions(self) -> dict[str, str]:
        """Registered model -> version number, of a registration."""
        return {
            model: facts["version"] for model, facts in self.details.get("versions", {}).items()
        }

    @property
    def champions(self) -> dict[str, str]:
        """Registered model -> version that is champion once the event is done."""
        return {m: a[Alias.CHAMPION] for m, a in self.aliases.items() if Alias.CHAMPION in a}


class LedgerMovedError(Exception):
    """Another writer appended first: read the ledger again and decide anew."""


@dataclass(frozen=True)
class Ledger:
    """The entries in order.

    Attributes:
        broken: the first reason not to trust them; "" when there is none.
        duplicates: names of files that claim the number of another entry and are no part of it.
    """

    entries: tuple[Entry, ...]
    broken: str = ""
    duplicates: tuple[str, ...] = ()

    @property
    def unresolved(self) -> tuple[str, ...]:
        """Those of `duplicates` that no `repaired` entry names."""
        repairs = (e.details.get("duplicates", ()) for e in self.entries if e.event == "repaired")
        resolved = {name for names in repairs for name in names}
        return tuple(name for name in self.duplicates if name not in resolved)

    @property
    def head(self) -> str:
        """Hash of the newest entry."""
        return self.entries[-1].hash if self.entries else GENESIS

    @property
    def disputed(self) -> str:
        """Which numbers have two entries, and which of them counts; "" where none has."""
        return "; ".join(
            f"entry {int(name[:6])} is there twice: {self.entries[int(name[:6]) - 1].file} counts, "
            f"{name} does not"
            for name in self.unresolved
        )

    @property
    def aliases(self) -> Aliases:
        """What the aliases of the registry must be."""
        return self.entries[-1].aliases if self.entries else {}

    @property
    def registrations(self) -> tuple[Entry, ...]:
        """The entries that recorded a publication."""
        return tuple(entry for entry in self.entries if entry.event == "registered")

    def registration(self, model: str, version: str) -> Entry | None:
        """The entry that recorded a version of a registered model."""
        return next((e for e in self.registrations if e.versions.get(model) == version), None)

    def publication(self, publication: str) -> Entry | None:
        """The entry that committed a publication."""
        same = (e for e in self.registrations if e.details["publication"] == publication)
        return next(same, None)

    @property
    def champion(self) -> str:
        """Version of the release that is champion; "" while there is none."""
        return self.aliases.get(RegisteredModel.RELEASE, {}).get(Alias.CHAMPION, "")

    @property
    def champion_since(self) -> str:
        """Hash of the entry that last changed which release is champion; "" while none did."""
        version = since = ""
        for entry in self.entries:
            now = entry.champions.get(RegisteredModel.RELEASE, "")
            if now != version:
                version, since = now, entry.hash
        return since

    @property
    def champions(self) -> list[dict[str, str]]:
        """Champions so far (model -> version), oldest first; a roll-back removes the newest."""
        history: list[dict[str, str]] = []
        for entry in self.entries:
            if entry.event == "rolled_back":
                history.pop()
            elif entry.champions and history[-1:] != [entry.champions]:
                history.append(entry.champions)
        return history

    @property
    def export_address(self) -> str:
        """Folder or s3:// prefix that the newest publication was told to export to, or ""."""
        return str(self.registrations[-1].details.get("export", "")) if self.registrations else ""


def read_ledger(store: TrackingStore) -> Ledger:
    """Read and verify the whole ledger; an empty one where nothing was ever published."""
    return verified(stored_entries(store))


def verified(files: dict[str, str]) -> Ledger:
    """Rebuild the ledger from its files (name -> content) and check every hash and link.

    Of two entries of one number RULE says which counts.
    """
    found: dict[int, list[Entry]] = {}
    broken = ""
    for name, content in sorted(files.items()):
        entry, broken = _read(name, content)
        if entry is None:
            break
        found.setdefault(entry.number, []).append(entry)
    lengths = _lengths(found)
    entries: list[Entry] = []
    others: list[str] = []
    previous = GENESIS
    for number in range(1, max(found, default=0) + 1):
        same = found.get(number, [])
        follow = [entry for entry in same if entry.previous == previous]
        if not follow:
            problem = f"{same[0].file} does not follow the entry before it" if same else ""
            broken = problem or f"entry {number} is missing"
            break
        chosen = min(follow, key=lambda e: (-lengths[e.hash], e.at, e.hash))
        others += [entry.file for entry in same if entry is not chosen]
        entries.append(chosen)
        previous = chosen.hash
    return Ledger(tuple(entries), broken, tuple(others))


def _read(name: str, content: str) -> tuple[Entry | None, str]:
    """The entry in a file, or None and what is wrong with it."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None, f"{name} is not a ledger entry"
    try:
        entry = Entry(**json.loads(content))
    except (ValueError, TypeError):
        return None, f"{name} cannot be read"
    if entry.hash != match[2] or entry.number != int(match[1]):
        return None, f"{name} was changed"
    return entry, ""


def _lengths(found: dict[int, list[Entry]]) -> dict[str, int]:
    """Hash of an entry -> number of entries in the longest chain that begins with it."""
    lengths: dict[str, int] = {}
    for number in sorted(found, reverse=True):
        later = found.get(number + 1, [])
        for entry in found[number]:
            built = [lengths[e.hash] for e in later if e.previous == entry.hash]
            lengths[entry.hash] = 1 + max(built, default=0)
    return lengths


def append(
    store: TrackingStore,
    ledger: Ledger,
    event: str,
    actor: str,
    aliases: Aliases,
    details: dict[str, Any],
) -> Ledger:
    """Record one event after the newest entry of `ledger`. Returns the longer ledger.

    Once it returns, the entry is there for good. Where it raises anything but LedgerMovedError,
    the entry may be there or not.

    Raises:
        RuntimeError: the ledger is broken or disputed; nothing may be built on it.
        LedgerMovedError: another writer appended first; nothing was recorded.
    """
    if ledger.broken:
        raise RuntimeError(f"the ledger is broken: {ledger.broken}")
    if set(ledger.unresolved) - set(details.get("duplicates", ())):
        raise RuntimeError(f"the ledger is disputed: {ledger.disputed}")
    at, token = datetime.now(UTC).isoformat(timespec="milliseconds"), secrets.token_hex(8)
    number = len(ledger.entries) + 1
    entry = Entry(number, ledger.head, at, event, actor, aliases, details, token)
    store_claimed(store)
    claim(store, number, entry.to_json())
    # Who won shows in what is stored: a claim of a number that has a file is void.
    if entry.file not in store_claimed(store):
        raise LedgerMovedError(f"entry {number} is another writer's")
    return Ledger((*ledger.entries, entry), "", ledger.duplicates)


def tries() -> Iterator[int]:
    """Tries to read, decide and append, with growing random pauses between.

    Raises StoreUnreachable: other writers were first each time.
    """
    for attempt in range(_TRIES):
        yield attempt
        time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, _PAUSE_S * 2**attempt)))  # noqa: S311
    raise StoreUnreachable(
        "the ledger", f"other writers were first {_TRIES} times", "try again when fewer write to it"
    )
