"""Which code is running: the part of every cache key and every lineage record that names it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.git import commit_hash, tree_changed

if TYPE_CHECKING:
    from pipelines.profile import Profile

ROOT = Path(__file__).resolve().parents[1]
_TREES = ("components", "serving")


@cache
def code_digest() -> str:
    """sha256 (hex) over the sources that run inside pipeline steps, and the locked dependencies."""
    digest = hashlib.sha256()
    files = [file for tree in _TREES for file in (ROOT / tree).rglob("*") if file.is_file()]
    for file in [*sorted(files), ROOT / "constraints.txt"]:
        if "__pycache__" in file.parts or not file.exists():
            continue
        digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0")
        digest.update(file.read_bytes())
    return digest.hexdigest()


@cache
def code_info() -> dict[str, Any]:
    """Commit, whether the tree differs from it, and the digest of the sources."""
    known = commit_hash()
    return {
        "commit": known or "unknown",
        "dirty": bool(tree_changed(untracked=True)) if known else None,
        "sources_sha256": code_digest(),
    }


def run_info(profile: Profile, approve: str | None, images: dict[str, str]) -> str:
    """What a run's lineage says beside its artifacts, as JSON; see publish.artifacts.RunInfo.

    Args:
        approve: "name: reason" of a person who overrides the gate.
        images: container images of the steps; none on one machine.
    """
    settings = profile.model_dump(mode="json")
    return json.dumps(
        {
            "code": code_info(),
            "profile": profile.name,
            "approve": approve,
            "settings": settings,
            "seeds": dict(_seeds(settings, "")),
            "images": images,
        }
    )


def _seeds(settings: dict[str, Any], prefix: str) -> Iterator[tuple[str, int]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _seeds(value, f"{prefix}{key}.")
        elif key in ("seed", "seeds") and isinstance(value, int):
            yield f"{prefix}{key}", value
