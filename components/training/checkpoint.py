"""Whether a checkpoint is this run's, or a member this model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.core.errors import BadInput


def require_same(path: Path, found: dict[str, Any], wanted: dict[str, Any], *, remedy: str) -> None:
    """Compare the identifying entries of a checkpoint with those expected.

    Raises:
        BadInput: naming the first entry that differs, and both values.
    """
    for name, value in wanted.items():
        if found.get(name) != value:
            raise BadInput(path, f"its {name} is {found.get(name)}, this run's is {value}", remedy)
