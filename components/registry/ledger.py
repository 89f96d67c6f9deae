"""The append-only record of what was registered, promoted, refused and rolled back, and by whom.

MLflow keeps no history of aliases, and its tags and finished runs stay writable. So each event is
one small JSON file, named by its number and hash, in the artifacts of a run of its own; each holds
the hash of the one before. Rewriting or removing an entry breaks every hash after it, and the
versions in the registry carry the hash of the entry that recorded them.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.registry.ledger_claims import claim, claims, release_claim
from components.registry.names import STEP, Alias, RegisteredModel
from components.registry.tracking.store import TrackingStore, first_run, write_artifact

EXPERIMENT = "glioflow-ledger"
GENESIS = "0" * 64
"""`previous` of the first entry."""

_FOLDER = "entries"
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
        event: registered | promoted | refused | approved | rolled_back | repaired.
        actor: person or process.
        details: what the event is about.
    """

    number: int
    previous: str
    at: str
    event: str
    actor: str
    aliases: Aliases
    details: dict[str, Any]

    def to_json(self) -> str:
        """Canonical JSON: the bytes whose sha256 is the entry's hash."""
        return json.dumps(vars(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def hash(self) -> str:
        """sha256 (hex) of the canonical JSON."""
        return _sha256(self.to_json())

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
    # A claim is removed after its file is stored: whoever reads claims first misses no entry.
    waiting = {f"{n:06d}-{_sha256(text)}.json": text for n, text in claims(store).items()}
    return verified(_stored(store), waiting)


def verified(files: dict[str, str], waiting: dict[str, str] | None = None) -> Ledger:
    """Rebuild the ledger from its files (name -> content) and check every hash and link.

    Args:
        waiting: claimed entries (name -> content) whose files may not be stored yet.
    """
    stored = {name: text for name, text in files.items() if not name.startswith(".")}
    numbers = {name[:6] for name in stored}
    waiting = {n: text for n, text in (waiting or {}).items() if n[:6] not in numbers}
    found: dict[int, list[Entry]] = {}
    broken = ""
    for name, content in sorted((stored | waiting).items()):
        entry, broken = _read(name, content)
        if entry is None:
            break
        found.setdefault(entry.number, []).append(entry)
    entries: list[Entry] = []
    duplicates: list[str] = []
    for number in range(1, max(found, default=0) + 1):
        previous = entries[-1].hash if entries else GENESIS
        same = found.get(number, [])
        if not same:
            return Ledger(tuple(entries), f"entry {number} is missing", tuple(duplicates))
        follow = [entry for entry in same if entry.previous == previous]
        if not follow:
            problem = f"{_file_name(same[0])} does not follow the entry before it"
            return Ledger(tuple(entries), problem, tuple(duplicates))
        continued = {entry.previous for entry in found.get(number + 1, [])}
        chosen = min(follow, key=lambda e: (e.hash not in continued, e.at, e.hash))
        duplicates += [_file_name(entry) for entry in same if entry is not chosen]
        entries.append(chosen)
    return Ledger(tuple(entries), broken, tuple(duplicates))


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


def append(
    store: TrackingStore,
    ledger: Ledger,
    event: str,
    actor: str,
    aliases: Aliases,
    details: dict[str, Any],
) -> Ledger:
    """Record one event on top of `ledger`; returns the longer ledger.

    The entry's number is its fencing token: the store lets one writer claim it (`ledger_claims`),
    and whoever comes later, however long it was held up, is refused.

    Raises:
        RuntimeError: the ledger is broken; nothing may be built on it.
        LedgerMovedError: `ledger` is not the newest any more: read it again and decide anew.
    """
    if ledger.broken:
        raise RuntimeError(f"the ledger is broken: {ledger.broken}")
    store_waiting(store)
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    entry = Entry(len(ledger.entries) + 1, ledger.head, at, event, actor, aliases, details)
    if not claim(store, entry.number, entry.to_json()):
        raise LedgerMovedError(f"entry {entry.number} is another writer's")
    # Looked at after the claim: a number whose claim was removed has its file.
    if any(name.startswith(f"{entry.number:06d}-") for name in _stored(store)):
        release_claim(store, entry.number)
        raise LedgerMovedError(f"entry {entry.number} is there")
    _write(store, _file_name(entry), entry.to_json())
    release_claim(store, entry.number)
    return Ledger((*ledger.entries, entry), "", ledger.duplicates)


def store_waiting(store: TrackingStore) -> None:
    """Write the files of entries whose writers were killed after their claim."""
    for number, text in claims(store).items():
        if not any(name.startswith(f"{number:06d}-") for name in _stored(store)):
            _write(store, f"{number:06d}-{_sha256(text)}.json", text)
        release_claim(store, number)


def _stored(store: TrackingStore) -> dict[str, str]:
    """Name -> content of the files of all entries."""
    run_id = _find_run(store)
    if run_id is None or not store.client.list_artifacts(run_id, _FOLDER):
        return {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(store.client.download_artifacts(run_id, _FOLDER, scratch))
        return {file.name: file.read_text() for file in folder.iterdir()}


def _file_name(entry: Entry) -> str:
    return f"{entry.number:06d}-{entry.hash}.json"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(store: TrackingStore, name: str, content: str) -> None:
    run = store.client.get_run(_find_run(store) or _create_run(store))
    write_artifact(store, run, f"{_FOLDER}/{name}", content.encode())


def _find_run(store: TrackingStore) -> str | None:
    run = first_run(store, EXPERIMENT, **{STEP: "ledger"})
    return run.info.run_id if run else None


def _create_run(store: TrackingStore) -> str:
    location = (store.folder / "ledger").as_uri() if store.folder else None
    found = store.client.get_experiment_by_name(EXPERIMENT)
    experiment = (
        found.experiment_id if found else store.client.create_experiment(EXPERIMENT, location)
    )
    run = store.client.create_run(experiment, tags={STEP: "ledger"}, run_name="ledger")
    store.client.set_terminated(run.info.run_id)
    return run.info.run_id
