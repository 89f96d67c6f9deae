"""One writer at a time in a store on this machine; and small helpers of every connection."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from filelock import FileLock

if TYPE_CHECKING:
    from components.registry.tracking.store import TrackingStore


@contextlib.contextmanager
def exclusive(store: TrackingStore) -> Iterator[None]:
    """Hold the lock of a store on this machine; writers of a server's store are not held up.

    Nothing depends on it: of two writers of one entry of the ledger one is refused
    (`ledger.append`), and whoever moves an alias, or what is served, reads the ledger again
    afterwards. On one machine the lock spares them the second attempt; the kernel drops it when its
    holder dies, even by kill -9.
    """
    if store.folder is None:
        yield
        return
    with FileLock(store.folder / ".publish.lock"):
        yield


def touch(client: Any) -> None:
    client.search_experiments(max_results=1)
    client.search_registered_models(max_results=1)


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
