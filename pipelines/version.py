"""Which code is running: the part of every cache key and every lineage record that names it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.profile import Profile

ROOT = Path(__file__).resolve().parents[1]
COMMIT_VARIABLE = "GLIOFLOW_COMMIT"
"""Environment variable that an image sets to the commit it was built from."""

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
    commit = os.environ.get(COMMIT_VARIABLE) or _git("rev-parse", "HEAD")
    changed = None if COMMIT_VARIABLE in os.environ else _git("status", "--porcelain")
    return {
        "commit": commit or "unknown",
        "dirty": bool(changed) if commit else None,
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


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
