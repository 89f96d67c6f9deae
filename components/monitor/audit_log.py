"""The server's audit log, line by line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.core.errors import BadInput


def read_entries(
    path: Path, row: Callable[[dict[str, Any]], dict[str, Any]]
) -> list[dict[str, Any]]:
    """What `row` makes of each line, without those of canaries.

    Raises BadInput: no such file, or a line is not one of the server's; names the line.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or "not UTF-8"
        raise BadInput(path, f"cannot be read ({what})", "give an audit log") from None
    rows = []
    for place, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            found = row(entry)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadInput(
                f"{path}:{place}", "not a line of the audit log", "give what --audit-log wrote"
            ) from None
        if entry.get("request_id") != "canary":
            rows.append(found)
    return rows
