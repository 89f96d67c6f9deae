"""One writer at a time: a file lock for a store on this machine, a renewed lease on a server."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from filelock import FileLock

if TYPE_CHECKING:
    from components.registry.tracking.store import TrackingStore

log = logging.getLogger(__name__)

LEASE_PREFIX = "glioflow-lock-"
"""Names of the registered models that serve as locks on a server, where no file can be shared."""


LEASE_S = 300.0
"""A holder that was killed blocks others no longer than this."""


@contextlib.contextmanager
def exclusive(store: TrackingStore) -> Iterator[None]:
    """Hold the store's lock: judging, naming versions and moving aliases happen one at a time."""
    if store.folder is not None:
        # The kernel drops this lock when its holder dies, even by kill -9.
        with FileLock(store.folder / ".publish.lock"):
            yield
        return
    owner = secrets.token_hex(8)
    name = _acquire_lease(store.client, owner)
    done = threading.Event()
    renewal = threading.Thread(target=_renew, args=(store.client, name, owner, done), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        done.set()
        renewal.join()
        if _owner(store.client, name) == owner:
            _delete_leases(store.client, [name])


def _renew(client: Any, name: str, owner: str, done: threading.Event) -> None:
    """Prolong a lease while its holder works; a lost one is left to its new holder."""
    while not done.wait(LEASE_S / 3):
        try:
            if _owner(client, name) != owner:
                log.warning("the lock of the MLflow store was lost to another process")
                return
            client.set_registered_model_tag(name, "until", str(time.time() + LEASE_S))
        except Exception as error:
            # What the ledger refuses to a slow writer needs no renewal; the next try may do.
            log.warning("the lock of the MLflow store was not renewed: %s", first_line(error))


def _owner(client: Any, name: str) -> str:
    """Who holds a lease; "" where it is gone."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_registered_model(name).tags.get("owner", ""))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return ""


def _acquire_lease(client: Any, owner: str) -> str:
    """Create the only live lock on a server, and return its name.

    Names of registered models are unique, so that of several creators of one name one wins. Who
    created a lock looks again: two holders would both have seen the other, and both step back.
    """
    from mlflow.exceptions import MlflowException

    while True:
        held = _leases(client)
        if not any(until > time.time() for until in held.values()):
            number = 1 + max((int(n.removeprefix(LEASE_PREFIX)) for n in held), default=0)
            mine = f"{LEASE_PREFIX}{number}"
            try:
                tags = {"until": str(time.time() + LEASE_S), "owner": owner}
                client.create_registered_model(mine, tags=tags)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            else:
                now = _leases(client)
                if not any(until > time.time() for name, until in now.items() if name != mine):
                    _delete_leases(client, [name for name in now if name != mine])
                    return mine
                _delete_leases(client, [mine])
        time.sleep(0.2 + secrets.randbelow(400) / 1000)


def _leases(client: Any) -> dict[str, float]:
    found = client.search_registered_models(f"name LIKE '{LEASE_PREFIX}%'")
    return {model.name: float(model.tags.get("until", 0.0)) for model in found}


def _delete_leases(client: Any, names: list[str]) -> None:
    from mlflow.exceptions import MlflowException

    for name in names:
        with contextlib.suppress(MlflowException):
            client.delete_registered_model(name)


def touch(client: Any) -> None:
    client.search_experiments(max_results=1)
    client.search_registered_models(max_results=1)


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
