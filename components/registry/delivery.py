"""What is served follows the ledger: the champion's release is exported, and pointed at."""

from __future__ import annotations

import tempfile
from pathlib import Path

from components.core.errors import BadInput, Outage
from components.registry.ledger import Entry, Ledger, read_ledger
from components.registry.names import RegisteredModel
from components.registry.tracking.lock import exclusive
from components.registry.tracking.model_versions import fetch_repository, resolve
from components.registry.tracking.store import (
    TrackingStore,
    connect_to,
    download_artifacts,
)
from components.release import store as depot
from components.release.integrity.signature import DOCUMENTS, SIGNATURE_FILE
from components.release.manifest import ReleaseManifest


def deliver(store: TrackingStore, address: str = "", repository: Path | None = None) -> str:
    """Make the champion the release that `address` serves; returns its id, "" for no champion.

    Doing it again changes nothing. Where the champion changes meanwhile, the newest one wins.

    Args:
        address: folder or s3:// prefix; empty: where the ledger says.
        repository: an exported release at hand; the registry's copy is taken for any other.

    Raises:
        Outage: the place is away; what it serves is as it was.
    """
    while True:
        ledger = read_ledger(store)
        address = address or ledger.export_address
        entry = ledger.registration(RegisteredModel.RELEASE, ledger.champion)
        if not address or entry is None:
            return ""
        release = str(entry.details["release"])
        if not depot.holds(address, release):
            _push(store, entry, address, repository)
        with exclusive(store):
            if read_ledger(store).champion_since == ledger.champion_since:
                depot.point(address, release, ledger.champion_since)
                # Of two that point at once, the one that sees the newest champion comes last.
                if read_ledger(store).champion_since == ledger.champion_since:
                    return release


def export_version(reference: str, tracking_uri: str, address: str) -> str:
    """Serve one published release at `address` on a person's word, champion or not.

    Returns its id. Raises BadInput: no such release.
    """
    store = connect_to(tracking_uri)
    entry = registered(store, read_ledger(store), reference)
    release = str(entry.details["release"])
    if not depot.holds(address, release):
        _push(store, entry, address, None)
    depot.point(address, release)
    return release


def registered(store: TrackingStore, ledger: Ledger, reference: str) -> Entry:
    """The entry that recorded a version's publication.

    Raises BadInput: no such version, or none that the ledger knows.
    """
    version = resolve(store, reference)
    entry = ledger.registration(version.name, str(version.version))
    if entry is None:
        raise BadInput(reference, "the ledger does not know it", "publish it again")
    return entry


def follow(store: TrackingStore) -> None:
    """As `deliver`, after an alias was moved by a person. Raises Outage, saying that it was."""
    try:
        deliver(store)
    except Outage as error:
        raise Outage(
            error.subject,
            f"the champion was changed, but what is served did not follow ({error.problem})",
            "run `glioflow publish --export` with this address when it is back",
        ) from None


def _push(store: TrackingStore, entry: Entry, address: str, repository: Path | None) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        # Releases of old have no documents, or a signature of another kind.
        run, made = str(entry.details["run_id"]), Path(scratch)
        documents = download_artifacts(store, run, DOCUMENTS, made)
        signature = download_artifacts(store, run, SIGNATURE_FILE, made)
        if (
            repository is None
            or ReleaseManifest.read(repository).release != entry.details["release"]
        ):
            version = entry.details["versions"][RegisteredModel.RELEASE]["version"]
            reference = f"{RegisteredModel.RELEASE.value}/{version}"
            repository = fetch_repository(reference, store.uri, Path(scratch) / "repository")
        depot.push(repository, address, documents, signature.read_bytes() if signature else None)
