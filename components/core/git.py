"""The commit of the running code: what an image says of itself, or git of a checkout."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

COMMIT_VARIABLE = "GLIOFLOW_COMMIT"
"""Environment variable that an image sets to the commit it was built from."""

_ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 20


def commit_hash() -> str:
    """Commit of the code; "" where unknown."""
    return os.environ.get(COMMIT_VARIABLE) or _git("rev-parse", "HEAD")


def tree_changed(*, untracked: bool) -> bool | None:
    """Whether files differ from the commit; None where no checkout can tell.

    Args:
        untracked: count files that git does not track.
    """
    if COMMIT_VARIABLE in os.environ or not commit_hash():
        return None
    return bool(_git("status", "--porcelain", *(() if untracked else ("-uno",))))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
