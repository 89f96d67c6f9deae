"""Append entries to a ledger until killed; print the hash of each once it is appended.

python -m tests.registry.append_entries TRACKING_URI [ARTIFACT_ROOT]
"""

from __future__ import annotations

import os
import sys

from components.registry.ledger import LedgerMovedError, append, read_ledger
from components.registry.settings import PublishSettings
from components.registry.tracking.store import connect, patiently


def main() -> None:
    """Append for ever."""
    uri, root = sys.argv[1], "".join(sys.argv[2:])
    settings = PublishSettings(tracking_uri=uri, artifact_root=root, attempts=5, patience_s=0.2)
    store = connect(settings)
    count = 0
    while True:
        details = {"writer": os.getpid(), "count": count, "long": "x" * 6000}

        def attempt(details: dict[str, object] = details) -> str:
            return append(store, read_ledger(store), "promoted", "writer", {}, details).head

        try:
            head = patiently(attempt, settings)
        except LedgerMovedError:
            continue
        sys.stdout.write(f"{head}\n")
        sys.stdout.flush()
        count += 1


if __name__ == "__main__":
    main()
