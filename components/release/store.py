"""Releases for servers to fetch: a folder or an S3 prefix, changed by replacing one small object.

    releases/<id>/...            a release as exported, and its documents; never changed
    releases/<id>.sigstore.json  signature of all of it, where a key was given
    current.json                 which of them is served

A release is uploaded under its id, read back, and only then pointed at: a reader finds the release
before or this one. Nothing of MLflow is needed to read.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from components.core.errors import BadInput, Outage
from components.core.files import sha256_file, sha256_tree
from components.release.depot import Depot, open_depot
from components.release.integrity.keys import TrustedKey
from components.release.integrity.old_signature import old_signer
from components.release.integrity.scan import safe_join, screen_tree
from components.release.integrity.signature import (
    DOCUMENTS,
    signed_documents,
    verify_signature,
)
from components.release.integrity.verification import verify_files
from components.release.manifest import RELEASE_FILE, ReleaseManifest

POINTER = "current.json"
MAX_FILE_MB = 4096.0
RELEASE_ID = re.compile(r"glioma-idh-[0-9a-f]{12}")


@dataclass(frozen=True)
class Pointer:
    """Content of current.json.

    Attributes:
        release: id of the release that is served.
        manifest_sha256: sha256 (hex) of its release.json.
        ledger_entry: hash of the ledger entry that made it so; empty where a person did.
    """

    release: str
    manifest_sha256: str
    ledger_entry: str = ""


def push(
    repository: Path, address: str, documents: Path | None = None, signature: bytes | None = None
) -> str:
    """Store an exported release under its id and read it back; nobody is pointed at it yet.

    Killed, it goes on with the file it stopped at. Returns the id.

    Args:
        documents: folder of the release's documents; None: it has none.
        signature: over both; None: not signed.

    Raises:
        BadInput: `repository` is not whole (see `verify_files`).
        Outage: the store is away, or gives back other bytes than it was given.
    """
    content = ReleaseManifest.read(repository)
    verify_files(repository, content.files)
    release, depot = _checked_id(content.release, repository), open_depot(address)
    if signature is not None:
        depot.write(_signature(release), signature)
    if documents is not None:
        _put(depot, documents, f"releases/{release}/{DOCUMENTS}", sha256_tree(documents))
    # What holds a release.json holds all that it names, as it names it.
    _put(depot, repository, f"releases/{release}", content.files)
    manifest = {RELEASE_FILE: sha256_file(repository / RELEASE_FILE)}
    _put(depot, repository, f"releases/{release}", manifest)
    return release


def _put(depot: Depot, repository: Path, place: str, files: dict[str, str]) -> None:
    for name, sha256 in files.items():
        depot.put(repository / name, f"{place}/{name}", sha256)
    for name, sha256 in files.items():
        if depot.digest(f"{place}/{name}") != sha256:
            raise Outage(f"{place}/{name}", "is not what was sent there", "publish it again")


def point(address: str, release: str, ledger_entry: str = "") -> Pointer:
    """Serve a release that was pushed; this is the moment at which readers see it.

    Raises BadInput: it is not there.
    """
    depot = open_depot(address)
    manifest = depot.read(f"releases/{_checked_id(release, address)}/{RELEASE_FILE}")
    if manifest is None:
        raise BadInput(f"{address}, release {release}", "not there", "publish it there first")
    pointer = Pointer(release, hashlib.sha256(manifest).hexdigest(), ledger_entry)
    if current(address) != pointer:
        depot.write(POINTER, (json.dumps(asdict(pointer), indent=2) + "\n").encode())
    return pointer


def holds(address: str, release: str) -> bool:
    """Whether a release was pushed there to its last file."""
    return open_depot(address).read(f"releases/{release}/{RELEASE_FILE}") is not None


def digests(address: str, release: str, documents: Iterable[str] = ()) -> dict[str, str]:
    """Path in the release -> sha256 (hex) of what is stored there, read anew.

    Covers release.json, what it names, and `documents`.

    Raises BadInput: a file is missing, or a path leaves the release.
    """
    depot, place = open_depot(address), f"releases/{release}"
    manifest = json.loads(depot.read(f"{place}/{RELEASE_FILE}") or b'{"files": {}}')
    names = [*manifest["files"], RELEASE_FILE, *documents]
    return {name: depot.digest(str(safe_join(Path(place), name))) for name in names}


def current(address: str) -> Pointer | None:
    """What is served; None where nothing is yet. Raises BadInput: an unreadable pointer."""
    content = open_depot(address).read(POINTER)
    if content is None:
        return None
    try:
        pointer = Pointer(**json.loads(content))
    except (ValueError, TypeError):
        raise BadInput(f"{address}/{POINTER}", "cannot be read", "publish again") from None
    _checked_id(pointer.release, f"{address}/{POINTER}")
    return pointer


def fetch(
    address: str,
    folder: Path,
    *,
    trusted: TrustedKey | None = None,
    max_file_mb: float = MAX_FILE_MB,
) -> Path:
    """Bring the release that is served to `folder`/<id>, whole or not at all; returns that folder.

    A killed download goes on where it stopped. A release that is there is not read again.

    Args:
        trusted: who must have signed it; None believes the place, and reads no signature.
        max_file_mb: a larger file is refused.

    Raises:
        BadInput: nothing is served, or what is does not hold: an altered or unlisted file, a path
            that leaves its folder, a giant, a signature of another key.
        Outage: the depot is away.
    """
    pointer = current(address)
    if pointer is None:
        raise BadInput(f"{address}/{POINTER}", "no release is served there", "publish one first")
    target, depot = folder / pointer.release, open_depot(address)
    manifest = depot.read(f"releases/{pointer.release}/{RELEASE_FILE}") or b""
    if hashlib.sha256(manifest).hexdigest() != pointer.manifest_sha256:
        raise BadInput(
            f"{address}, release {pointer.release}",
            "its release.json is not the one that is served",
            "do not use it; publish it again",
        )
    where = f"{address}, release {pointer.release}"
    if trusted is not None and trusted.kind == "ed25519":
        _demand_old(manifest, depot.read(f"releases/{pointer.release}.sig"), trusted, where)
    if not target.is_dir():
        partial = folder / f".{pointer.release}.part"
        partial.mkdir(parents=True, exist_ok=True)
        _download(depot, pointer.release, manifest, partial, int(max_file_mb * 1e6), trusted)
        try:
            verify_files(partial, json.loads(manifest)["files"])
            screen_tree(partial, max_file_mb)
            _demand(depot, pointer.release, partial, trusted)
        except BadInput as error:
            shutil.rmtree(partial)
            problem = f"{Path(error.subject).name}: {error.problem}"
            raise BadInput(where, problem, "do not use it; publish it again") from None
        partial.replace(target)
    elif trusted is not None:
        _download(depot, pointer.release, manifest, target, int(max_file_mb * 1e6), trusted)
        _demand(depot, pointer.release, target, trusted)
    return target


def _download(
    depot: Depot, release: str, manifest: bytes, folder: Path, limit: int, trusted: object
) -> None:
    """Bring what release.json names; its documents as well, where the signature is read."""
    wanted: dict[str, str] = json.loads(manifest)["files"]
    bundle = depot.read(_signature(release)) if trusted else None
    for name, sha256 in {**wanted, **(signed_documents(bundle) if bundle else {})}.items():
        file = safe_join(folder, name)
        if not (file.is_file() and sha256_file(file) == sha256):
            file.unlink(missing_ok=True)
            depot.get(f"releases/{release}/{name}", file, limit)
    (folder / RELEASE_FILE).write_bytes(manifest)


def _demand(depot: Depot, release: str, folder: Path, trusted: TrustedKey | None) -> None:
    """Raises BadInput where a key is trusted and did not sign this folder."""
    if trusted is not None and trusted.kind != "ed25519":
        verify_signature(folder, depot.read(_signature(release)), trusted)


def _demand_old(manifest: bytes, signature: bytes | None, trusted: TrustedKey, where: str) -> None:
    found = old_signer(manifest, signature) if signature else ""
    if found != trusted.fingerprint:
        who = f"signed by key {found[:16]}" if found else "not signed"
        raise BadInput(where, f"{who}, not by the trusted key", "do not use it")


def _signature(release: str) -> str:
    return f"releases/{release}.sigstore.json"


def _checked_id(release: str, where: object) -> str:
    if not isinstance(release, str) or not RELEASE_ID.fullmatch(release):
        raise BadInput(where, f"{release!r} is no release id", "publish it again")
    return release
