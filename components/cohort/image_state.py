"""What the images of a manifest hold now, and what changed since they were last looked at.

A manifest names its images by path: the same manifest may stand for other images tomorrow. A file
is read again only where its size, time of change or inode differ from the last look.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from components.cohort.manifest import PATH_COLUMNS, ManifestTable
from components.core.errors import BadInput, Outage
from components.core.files import read_json, sha256_file, write_json
from components.core.s3 import is_remote, remote_version

LOOKS_AT_ONCE = 8
"""Images whose state is asked for at a time."""


@dataclass(frozen=True)
class ImageState:
    """Content of the images of some manifests.

    Attributes:
        sha256: over all of them; another one means other images.
        changed: paths whose content differs from the last look, sorted.
    """

    sha256: str
    changed: tuple[str, ...]


def look_at_images(tables: Iterable[ManifestTable], memory: Path | None = None) -> ImageState:
    """Digest every image that the manifests name; a missing one counts as such.

    Args:
        memory: JSON file with the last look, written anew; without one nothing has changed.

    Raises:
        Outage: an object store is away.
    """
    before = _remembered(memory) if memory else {}
    now: dict[str, list[str]] = {}
    paths = sorted({path for table in tables for path in _paths(table)})
    # An object store takes longer to answer than this machine to ask.
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        looks = list(pool.map(_quick_look, paths))
    for path, seen in zip(paths, looks, strict=True):
        old = before.get(path)
        now[path] = old if old and old[0] == seen else [seen, _content(path, seen)]
    changed = tuple(p for p, (_, digest) in now.items() if p in before and before[p][1] != digest)
    if memory:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_json(memory, now)
    lines = "\n".join(f"{path} {digest}" for path, (_, digest) in now.items())
    return ImageState(hashlib.sha256(lines.encode()).hexdigest(), changed)


def _remembered(memory: Path) -> dict[str, list[str]]:
    try:
        content = read_json(memory)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _paths(table: ManifestTable) -> Iterator[str]:
    for index in range(len(table.rows)):
        for column in PATH_COLUMNS:
            if path := table.location(index, column):
                yield path


def _files(path: str) -> list[Path]:
    """A file, or the files of a DICOM series' folder; none where nothing is there."""
    place = Path(path)
    if place.is_dir():
        return sorted(file for file in place.rglob("*") if file.is_file())
    return [place] if place.is_file() else []


def _quick_look(path: str) -> str:
    """Size, time of change and inode of each file; of an object its ETag or version."""
    if is_remote(path):
        try:
            return remote_version(path)
        except Outage:
            raise
        except BadInput:
            return ""
    stats = ((file.name, file.stat()) for file in _files(path))
    return ";".join(f"{name} {s.st_size} {s.st_mtime_ns} {s.st_ino}" for name, s in stats)


def _content(path: str, seen: str) -> str:
    """sha256 of what the path holds; of an object its version, which names its content."""
    if is_remote(path):
        return seen
    return ",".join(sha256_file(file) for file in _files(path))
