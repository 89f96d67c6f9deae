"""A place of small and large files that servers read: a folder, or an S3 prefix."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from components.core.errors import BadInput
from components.core.files import atomic, sha256_file
from components.core.s3 import (
    fetch_object,
    is_remote,
    read_object,
    sha256_object,
    upload_object,
    write_object,
)


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
