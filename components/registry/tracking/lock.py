"""Writers on one machine take turns: a courtesy that saves tries, which nothing rests upon.

What two writers must not both do is decided by the ledger, which one of them wins.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from components.registry.tracking.store import TrackingStore

log = logging.getLogger(__name__)

TURN_S = 60.0
"""A process that was stopped, not killed, keeps others waiting no longer than this."""


@contextlib.contextmanager
def exclusive(store: TrackingStore) -> Iterator[None]:
    """Wait for other writers of a store on this machine, within reason; for a server, do not."""
    with contextlib.ExitStack() as turn:
        if store.folder is not None:
            # The kernel drops this lock when its holder dies, even by kill -9.
            try:
                turn.enter_context(FileLock(store.folder / ".publish.lock", timeout=TURN_S))
            except Timeout:
                log.warning("another process has not ended its turn in %.0f s: going on", TURN_S)
        yield


def touch(client: Any) -> None:
    client.search_experiments(max_results=1)
    client.search_registered_models(max_results=1)


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
