"""Time-stamps of the ledger's head, beside the ledger and in a folder that the auditor keeps.

What is stamped is the file of the newest entry, whose sha256 is the entry's hash and in its name.
As each entry holds the hash of the one before, one time-stamp fixes the whole history up to there.
Whoever administers MLflow can write another history with hashes that agree, and remove the
time-stamps beside it; what the auditor's folder holds, no longer agrees with it.

    NNNNNN-HASH.tsr     answer of the authority (DER): `openssl ts -verify -data NNNNNN-HASH.json`
    authority.pem       roots that the auditor trusts; in the auditor's folder only
"""

from __future__ import annotations

import logging
import re
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from components.core.errors import BadInput
from components.core.files import atomic
from components.registry.ledger import Ledger, read_ledger
from components.registry.ledger_store import ledger_run
from components.registry.tracking.lock import first_line
from components.registry.tracking.store import (
    TrackingStore,
    connect_to,
    download_artifacts,
    write_artifact,
)
from components.registry.witness.timestamp import request_timestamp, verify_timestamp

log = logging.getLogger(__name__)

TIMESTAMPS = "timestamps"
"""Folder of the ledger's run."""

AUTHORITY_FILE = "authority.pem"
_NAME = re.compile(r"(\d{6})-([0-9a-f]{64})\.tsr")
_OWN_FOLDER = "give the folder that `glioflow witness` wrote"


@dataclass(frozen=True)
class Witnessed:
    """What the newest time-stamp proves: the ledger was as it is up to an entry, at a time."""

    entries: int
    number: int
    at: datetime


def stamp_head(store: TrackingStore, authority: str = "") -> None:
    """Have the newest entry stamped, and keep the answer beside the ledger, once.

    What fails is a warning: the next time-stamp fixes this entry as well.

    Args:
        authority: its address; empty: the one that the newest publication named, if it did.
    """
    from mlflow.exceptions import MlflowException

    try:
        ledger = read_ledger(store)
        registered = ledger.registrations
        named = registered[-1].details.get("timestamp") if registered else ""
        if authority or named:
            _stamp(store, ledger, authority or str(named))
    except (BadInput, MlflowException, OSError) as error:
        log.warning("the ledger's head was not time-stamped: %s", first_line(error))


def keep_witness(
    folder: Path, tracking_uri: str, authority: str = "", root: Path | None = None
) -> Witnessed:
    """Bring the auditor's folder up to date with the time-stamps beside the ledger.

    Args:
        authority: address of a time-stamp authority that stamps the head first; empty: none does.
        root: its root certificates (PEM), kept in the folder; needed once.

    Raises:
        BadInput: the ledger is not the one that the folder witnessed, or a time-stamp does not
            hold. Nothing was added then.
        Outage: the authority is away.
    """
    roots = _roots(root or folder / AUTHORITY_FILE)
    store = connect_to(tracking_uri)
    mine = witness_files(folder) if folder.is_dir() else {}
    ledger = _whole(store)
    times = confirmed(mine, ledger, roots)
    fresh = _stamp(store, ledger, authority) if authority else {}
    found = fresh | kept_tokens(store)
    # Read after the time-stamps: none is of an entry that it has not.
    ledger = _whole(store)
    times |= confirmed(found, ledger, roots)
    if not times:
        raise BadInput("the ledger", "nothing is time-stamped", "name an authority: --authority")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {AUTHORITY_FILE: roots, **found}.items():
        if name not in mine:
            with atomic(folder / name) as temporary:
                temporary.write_bytes(content)
    return newest(ledger, times)


def _whole(store: TrackingStore) -> Ledger:
    ledger = read_ledger(store)
    if ledger.broken:
        raise BadInput("the ledger", ledger.broken, "run `glioflow audit`")
    return ledger


def confirmed(tokens: dict[str, bytes], ledger: Ledger, roots: bytes) -> dict[str, datetime]:
    """When an authority saw the entries that time-stamps (name -> content) are named by.

    Raises BadInput: one does not hold, or the ledger has no longer that entry at that place.
    """
    times = {}
    for name, token in sorted(tokens.items()):
        at = times[name] = verify_timestamp(name, token, name[7:71], roots)
        if problem := contradiction(name, ledger):
            what = f"{problem}, and is not what was there on {at:%Y-%m-%d %H:%M} UTC"
            raise BadInput(name, what, "keep this file, and ask who administers MLflow")
    return times


def contradiction(name: str, ledger: Ledger) -> str | None:
    """Why the ledger is not the one that the time-stamp of this name is about; None where it is."""
    number, digest = int(name[:6]), name[7:71]
    if number > len(ledger.entries):
        return f"entry {number} is missing"
    if ledger.entries[number - 1].hash != digest:
        return f"history was rewritten: entry {number} is another"
    return None


def newest(ledger: Ledger, times: dict[str, datetime]) -> Witnessed:
    """What the last of confirmed time-stamps (name -> time) proves."""
    last = max(times)
    return Witnessed(len(ledger.entries), int(last[:6]), times[last])


def witness_files(folder: Path) -> dict[str, bytes]:
    """Name -> content of the time-stamps in a folder. Raises BadInput: a file of another name."""
    if not folder.is_dir():
        raise BadInput(folder, "no such folder", _OWN_FOLDER)
    found = sorted(file for file in folder.glob("*.tsr") if not file.name.startswith("."))
    files = {file.name: file for file in found}
    for name, file in files.items():
        if _NAME.fullmatch(name) is None:
            raise BadInput(file, "not named NUMBER-HASH.tsr", "restore its name")
    return {name: file.read_bytes() for name, file in files.items()}


def witness_roots(folder: Path) -> bytes:
    """The roots in the auditor's folder. Raises BadInput."""
    return _roots(folder / AUTHORITY_FILE)


def kept_tokens(store: TrackingStore) -> dict[str, bytes]:
    """Name -> content of the time-stamps beside the ledger."""
    run = ledger_run(store)
    if run is None or not store.client.list_artifacts(run.info.run_id, TIMESTAMPS):
        return {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = download_artifacts(store, run.info.run_id, TIMESTAMPS, Path(scratch))
        return witness_files(folder) if folder else {}


def _stamp(store: TrackingStore, ledger: Ledger, authority: str) -> dict[str, bytes]:
    """Name -> content of a new time-stamp of the head, kept beside the ledger where we may write.

    Nothing where there is one.
    """
    from mlflow.exceptions import MlflowException

    run = ledger_run(store)
    if run is None or not ledger.entries:
        return {}
    head = ledger.entries[-1]
    name = f"{head.number:06d}-{head.hash}.tsr"
    if name in kept_tokens(store):
        return {}
    token = request_timestamp(authority, head.to_json().encode())
    try:
        write_artifact(store, run, f"{TIMESTAMPS}/{name}", token)
    except (MlflowException, OSError) as error:
        log.warning("the time-stamp is not kept beside the ledger: %s", first_line(error))
    return {name: token}


def _roots(path: Path) -> bytes:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        pem = path.read_bytes()
        load_pem_x509_certificates(pem)
    except (OSError, ValueError):
        remedy = "give the root of the time-stamp authority (PEM) as --root"
        raise BadInput(path, "no certificates there", remedy) from None
    return pem
