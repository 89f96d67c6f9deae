"""Bring the release that is served somewhere to a Triton server's folder, once or for ever."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

from components.core.errors import BadInput
from components.release import store as depot
from components.release.integrity.keys import trusted_key
from serving.triton.server_folder import RELEASES, Store

log = logging.getLogger(__name__)


def fetch_release(address: str, store: Store, key: str = "") -> str:
    """Make what `address` serves the live release of a store; returns its id.

    Downloads are resumed and verified before anything of them is shown to Triton. The models of
    releases before the last one are taken away.

    Args:
        key: public key or root certificate (PEM or its path) behind its signature; see
            `keys.trusted_key`.

    Raises:
        BadInput: nothing is served there, or what is does not hold.
        Outage: the place is away.
    """
    pointer = depot.current(address)
    history = store.history()
    if pointer is not None and history[-1:] == [pointer.release]:
        return pointer.release
    folder = depot.fetch(address, store.folder / RELEASES, trusted=trusted_key(key))
    release = store.add(folder)
    store.make_live(release)
    kept = {release.release, *history[-1:]}
    for old in set(history) - kept:
        with contextlib.suppress(BadInput):
            store.remove_models(store.release(old))
    return release.release


def watch(
    address: str,
    store: Store,
    every_s: float,
    key: str = "",
    *,
    told: Callable[[str], None],
    rounds: int | None = None,
) -> None:
    """As `fetch_release`, again and again; whatever is wrong there, the live release stays live.

    Args:
        every_s: seconds between two looks.
        told: called with the id of each new live release.
        rounds: looks before it returns; None: never.
    """
    live = store.history()[-1:]
    while rounds is None or rounds > 0:
        try:
            now = fetch_release(address, store, key)
            if [now] != live:
                told(now)
            live = [now]
        except BadInput as error:
            log.warning("%s; still live: %s", error, live[0] if live else "nothing")
        rounds = None if rounds is None else rounds - 1
        if rounds != 0:
            time.sleep(every_s)
