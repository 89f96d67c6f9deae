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
from urllib.parse import unquote, urlparse

from components.core.files import atomic
from components.registry.names import STEP
from components.registry.tracking.store import Store

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
        return hashlib.sha256(self.to_json().encode()).hexdigest()


@dataclass(frozen=True)
class Ledger:
    """All entries in order, and the first reason not to trust them ("" when there is none)."""

    entries: tuple[Entry, ...]
    broken: str = ""

    @property
    def head(self) -> str:
        """Hash of the newest entry."""
        return self.entries[-1].hash if self.entries else GENESIS

    @property
    def aliases(self) -> Aliases:
        """What the aliases of the registry must be."""
        return self.entries[-1].aliases if self.entries else {}

    def registration(self, model: str, version: str) -> Entry | None:
        """The entry that recorded a version of a registered model."""
        for entry in self.entries:
            versions = entry.details.get("versions", {})
            if entry.event == "registered" and versions.get(model, {}).get("version") == version:
                return entry
        return None


def read_ledger(store: Store) -> Ledger:
    """Read and verify the whole ledger; an empty one where nothing was ever published."""
    run_id = _find_run(store)
    if run_id is None:
        return Ledger(())
    with tempfile.TemporaryDirectory() as scratch:
        if not store.client.list_artifacts(run_id, _FOLDER):
            return Ledger(())
        folder = Path(store.client.download_artifacts(run_id, _FOLDER, scratch))
        return verified({file.name: file.read_text() for file in folder.iterdir()})


def verified(files: dict[str, str]) -> Ledger:
    """Rebuild the ledger from its files (name -> content) and check every hash and link."""
    entries: list[Entry] = []
    previous = GENESIS
    for name, content in sorted(files.items()):
        match = _NAME.fullmatch(name)
        if match is None:
            if name.startswith("."):
                continue
            return Ledger(tuple(entries), f"{name} is not a ledger entry")
        try:
            entry = Entry(**json.loads(content))
        except (ValueError, TypeError):
            return Ledger(tuple(entries), f"{name} cannot be read")
        number, digest = int(match[1]), match[2]
        if entry.hash != digest:
            return Ledger(tuple(entries), f"{name} was changed")
        if entry.number != number or number != len(entries) + 1:
            return Ledger(tuple(entries), f"entry {len(entries) + 1} is missing")
        if entry.previous != previous:
            return Ledger(tuple(entries), f"{name} does not follow the entry before it")
        entries.append(entry)
        previous = digest
    return Ledger(tuple(entries))


def append(
    store: Store, ledger: Ledger, event: str, actor: str, aliases: Aliases, details: dict[str, Any]
) -> Ledger:
    """Record one event; the caller holds the store's lock. Returns the longer ledger.

    Raises:
        RuntimeError: the ledger is broken; nothing may be built on it.
    """
    if ledger.broken:
        raise RuntimeError(f"the ledger is broken: {ledger.broken}")
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    entry = Entry(len(ledger.entries) + 1, ledger.head, at, event, actor, aliases, details)
    _write(store, f"{entry.number:06d}-{entry.hash}.json", entry.to_json())
    return Ledger((*ledger.entries, entry))


def _write(store: Store, name: str, content: str) -> None:
    run = store.client.get_run(_find_run(store) or _create_run(store))
    root = urlparse(run.info.artifact_uri)
    if root.scheme in ("", "file"):
        # MLflow copies into a local folder in place; a kill would leave half an entry.
        with atomic(Path(unquote(root.path)) / _FOLDER / name) as temporary:
            temporary.write_text(content)
        return
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / name).write_text(content)
        store.client.log_artifact(run.info.run_id, str(Path(scratch) / name), _FOLDER)


def _find_run(store: Store) -> str | None:
    experiment = store.client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return None
    runs = store.client.search_runs(
        [experiment.experiment_id],
        f"tags.`{STEP}` = 'ledger'",
        order_by=["attributes.start_time ASC"],
        max_results=1,
    )
    return runs[0].info.run_id if runs else None


def _create_run(store: Store) -> str:
    location = (store.folder / "ledger").as_uri() if store.folder else None
    found = store.client.get_experiment_by_name(EXPERIMENT)
    experiment = (
        found.experiment_id if found else store.client.create_experiment(EXPERIMENT, location)
    )
    run = store.client.create_run(experiment, tags={STEP: "ledger"}, run_name="ledger")
    store.client.set_terminated(run.info.run_id)
    return run.info.run_id
