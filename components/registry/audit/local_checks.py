"""Walks through what lies on this machine: the run's folders, its exported repository, images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from components.cohort.images import image_digest
from components.cohort.manifest import IMAGE_COLUMNS, read_table
from components.core.errors import BadInput
from components.core.files import read_json, sha256_tree
from components.core.s3 import is_remote
from components.core.tables import read_csv
from components.registry import names
from components.registry.audit.links import AuditCheck, Chain, compare
from components.registry.run_artifacts import FOLDERS
from components.registry.tracking.step_records import PARENT
from components.release.manifest import RELEASE_FILE


def here(chain: Chain) -> Iterator[AuditCheck]:
    """What the run handed over, file by file, where this machine still has it.

    Without a folder named, that around a SQLite store is taken, if it holds this release: the next
    run may have been written over it.
    """
    folder = chain.local
    if folder is None:
        around = chain.store.folder.parent if chain.store.folder else None
        if around is None or _release(around) != chain.entry.details["release"]:
            return
        folder = around
    if (folder / RELEASE_FILE).is_file():
        yield _repository(chain, folder)
        return
    yield _repository(chain, folder / "repository")
    yield from _folders(chain, folder)
    if (folder / "validated" / "accepted.csv").is_file():
        yield _images(folder / "validated" / "accepted.csv", chain)


def _release(folder: Path) -> str:
    manifest = folder / "repository" / RELEASE_FILE
    try:
        return str(read_json(manifest).get(names.RELEASE))
    except (OSError, ValueError, AttributeError):
        return ""


def _repository(chain: Chain, folder: Path) -> AuditCheck:
    expected = chain.handed_over("repository")
    return compare(
        f"repository {folder}: {len(expected)} files", expected, sha256_tree(folder.resolve())
    )


def _folders(chain: Chain, folder: Path) -> Iterator[AuditCheck]:
    for name in FOLDERS:
        place = (folder / name).resolve()
        if name != "repository" and place.is_dir():
            expected = chain.handed_over(name)
            what = f"{name} {folder / name}: {len(expected)} files"
            yield compare(what, expected, sha256_tree(place))


def _images(accepted: Path, chain: Chain) -> AuditCheck:
    table = read_table(accepted)
    rows = {row["patient_id"]: index for index, row in enumerate(table.rows)}
    changed, compared = [], 0
    for row in read_csv(chain.folder(PARENT) / names.MANIFEST_FILE):
        index = rows.get(row["patient_id"])
        for column in IMAGE_COLUMNS:
            cell = row.get(column, "")
            if index is None or not cell.startswith("sha256:"):
                continue
            digest = _digest(table.location(index, column))
            if digest is not None:
                compared += 1
                if cell != f"sha256:{digest}":
                    changed.append(f"{row['patient_id']} {column}")
    return AuditCheck(
        f"data: {compared} images present", not changed, "as trained on", changed or "same"
    )


def _digest(place: str | None) -> str | None:
    """Of an image, where this machine reaches it."""
    if not place or not (is_remote(place) or Path(place).exists()):
        return None
    try:
        return image_digest(place)
    except BadInput:
        return None
