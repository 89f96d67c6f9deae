"""Releases for servers to fetch: a folder or an S3 prefix, changed by replacing one small object.

    releases/<id>/...      a release as exported, never changed
    releases/<id>.sig      signature of its release.json, where a key was given
    current.json           which of them is served

A release is uploaded under its id, read back, and only then pointed at: a reader finds the release
before or this one. Nothing of MLflow is needed to read.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from components.core.errors import BadInput, Outage
from components.core.files import atomic, sha256_file
from components.core.s3 import (
    fetch_object,
    is_remote,
    read_object,
    sha256_object,
    upload_object,
    write_object,
)
from components.release.integrity.scan import safe_join, screen_tree
from components.release.integrity.signature import demand
from components.release.integrity.verification import verify_files
from components.release.manifest import RELEASE_FILE, ReleaseManifest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

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


class Depot(Protocol):
    """Where releases are kept. Names are relative, POSIX."""

    def read(self, name: str) -> bytes | None:
        """A small file; None where there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Replace a small file at once."""

    def put(self, source: Path, name: str, sha256: str) -> None:
        """Store a file, unless it is there."""

    def digest(self, name: str) -> str:
        """sha256 (hex) of what is stored, read anew."""

    def get(self, name: str, target: Path, limit: int) -> None:
        """Bring a file of at most `limit` bytes to `target`."""


def open_depot(address: str) -> Depot:
    """The depot at a folder or an s3:// prefix. Raises BadInput: another kind of address."""
    if is_remote(address):
        return _Bucket(address.rstrip("/"))
    if not address or "://" in address:
        raise BadInput(address or "export", "no place for releases", "give a folder or s3://...")
    return _Folder(Path(address))


def push(repository: Path, address: str, signature: bytes | None = None) -> str:
    """Store an exported release under its id and read it back; nobody is pointed at it yet.

    Killed, it goes on with the file it stopped at. Returns the id.

    Raises:
        BadInput: `repository` is not whole (see `verify_files`).
        Outage: the store is away, or gives back other bytes than it was given.
    """
    content = ReleaseManifest.read(repository)
    verify_files(repository, content.files)
    release, depot = _checked_id(content.release, repository), open_depot(address)
    if signature is not None:
        depot.write(f"releases/{release}.sig", signature)
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


def digests(address: str, release: str) -> dict[str, str]:
    """Path in the release -> sha256 (hex) of what is stored there, read anew.

    Covers release.json and what it names.

    Raises BadInput: a file is missing, or a path leaves the release.
    """
    depot, place = open_depot(address), f"releases/{release}"
    manifest = json.loads(depot.read(f"{place}/{RELEASE_FILE}") or b'{"files": {}}')
    names = [*manifest["files"], RELEASE_FILE]
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
    trusted: Ed25519PublicKey | None = None,
    max_file_mb: float = MAX_FILE_MB,
) -> Path:
    """Bring the release that is served to `folder`/<id>, whole or not at all; returns that folder.

    A killed download goes on where it stopped. A release that is there is not read again.

    Args:
        trusted: key that must have signed it; None takes an unsigned one, but no bad signature.
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
    demand(manifest, depot.read(f"releases/{pointer.release}.sig"), trusted)
    if target.is_dir():
        return target
    partial = folder / f".{pointer.release}.part"
    partial.mkdir(parents=True, exist_ok=True)
    release = json.loads(manifest)
    for name, sha256 in release["files"].items():
        file = safe_join(partial, name)
        if not (file.is_file() and sha256_file(file) == sha256):
            file.unlink(missing_ok=True)
            depot.get(f"releases/{pointer.release}/{name}", file, int(max_file_mb * 1e6))
    (partial / RELEASE_FILE).write_bytes(manifest)
    try:
        verify_files(partial, release["files"])
        screen_tree(partial, max_file_mb)
    except BadInput as error:
        shutil.rmtree(partial)
        where = f"{address}, release {pointer.release}"
        problem = f"{Path(error.subject).name}: {error.problem}"
        raise BadInput(where, problem, "do not use it; publish it again") from None
    partial.replace(target)
    return target


def _checked_id(release: str, where: object) -> str:
    if not isinstance(release, str) or not RELEASE_ID.fullmatch(release):
        raise BadInput(where, f"{release!r} is no release id", "publish it again")
    return release


@dataclass(frozen=True)
class _Folder:
    """A depot in a folder."""

    root: Path

    def read(self, name: str) -> bytes | None:
        path = self.root / name
        return path.read_bytes() if path.is_file() else None

    def write(self, name: str, content: bytes) -> None:
        with atomic(self.root / name) as temporary:
            temporary.write_bytes(content)

    def put(self, source: Path, name: str, sha256: str) -> None:
        target = self.root / name
        if not (target.is_file() and sha256_file(target) == sha256):
            with atomic(target) as temporary:
                shutil.copyfile(source, temporary)

    def digest(self, name: str) -> str:
        if not (self.root / name).is_file():
            raise BadInput(self.root / name, "missing", "publish the release again")
        return sha256_file(self.root / name)

    def get(self, name: str, target: Path, limit: int) -> None:
        source = self.root / name
        if not source.is_file():
            raise BadInput(source, "missing", "publish the release again")
        if source.stat().st_size > limit:
            raise BadInput(source, f"more than {limit / 1e6:g} MB", "refuse it")
        with atomic(target) as temporary:
            shutil.copyfile(source, temporary)


@dataclass(frozen=True)
class _Bucket:
    """A depot below an s3:// prefix."""

    root: str

    def read(self, name: str) -> bytes | None:
        return read_object(f"{self.root}/{name}")

    def write(self, name: str, content: bytes) -> None:
        write_object(f"{self.root}/{name}", content)

    def put(self, source: Path, name: str, sha256: str) -> None:
        upload_object(source, f"{self.root}/{name}", sha256)

    def digest(self, name: str) -> str:
        return sha256_object(f"{self.root}/{name}")

    def get(self, name: str, target: Path, limit: int) -> None:
        fetch_object(f"{self.root}/{name}", target, limit)
