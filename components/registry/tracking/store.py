"""The MLflow store: opened safely, tried again when away, locked for what must not race."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from components.core.errors import BadInput, Outage, outage_of
from components.registry.settings import PublishSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
T = TypeVar("T")

LEASE_PREFIX = "glioflow-lock-"
"""Names of the registered models that serve as locks on a server, where no file can be shared."""

LEASE_S = 300.0
"""A holder that was killed blocks others no longer than this."""

_SQLITE = "sqlite:///"
_QUIET = ("mlflow", "alembic")


_REMEDIES = (
    ("401", "give MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"),
    ("UNAUTHENTICATED", "give MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"),
    ("403", "allow this account to write there"),
    ("PERMISSION_DENIED", "allow this account to write there"),
    ("413", "raise the body size that the proxy before MLflow takes"),
    ("404", "check the address: no MLflow API is there"),
    ("certificate", "set REQUESTS_CA_BUNDLE to the file of its authority"),
    ("CERTIFICATE", "set REQUESTS_CA_BUNDLE to the file of its authority"),
    ("locked", "end what else writes to that database"),
    ("readonly", "make the database file writable"),
    ("disk is full", "make room on that disk"),
    ("507", "make room in the store"),
    ("<html", "check the address: a web page answers there, perhaps a login"),
    ("<!doctype", "check the address: a web page answers there, perhaps a login"),
    ("JSON", "check the address: a web page answers there, perhaps a login"),
)
"""Part of an error's message -> what mends it; the first that fits."""


class StoreUnreachable(Outage):
    """The MLflow store did not answer, or did not take what it was sent."""

    @classmethod
    def of(cls, uri: str, error: BaseException) -> StoreUnreachable:
        """What an error of the store means, in one line."""
        text = str(error)
        remedy = next((r for part, r in _REMEDIES if part in text), "check it, and try again")
        return cls(uri.partition("?")[0], f"MLflow did not take it ({_first_line(error)})", remedy)


@dataclass(frozen=True)
class TrackingStore:
    """An open store. `folder` is that of its SQLite database, None for a server."""

    uri: str
    client: MlflowClient
    folder: Path | None


def normalised_uri(uri: str) -> str:
    """`uri` as MLflow takes it: a SQLite path made absolute, a bare folder turned into SQLite.

    Raises:
        BadInput: an address MLflow or this project does not support (file://, another scheme).
    """
    if uri.startswith(("http://", "https://", "postgresql")):
        return uri
    if uri.startswith(_SQLITE):
        return f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).resolve()}"
    if not uri or "://" in uri or uri.startswith("file:"):
        raise BadInput(
            f"tracking_uri '{uri}'",
            "not an address of an MLflow store",
            "give http(s)://SERVER, sqlite:///FILE or a folder",
        )
    return f"{_SQLITE}{Path(uri).resolve() / 'mlflow.db'}"


def connect_to(tracking_uri: str) -> TrackingStore:
    """Open a store to read it: a SQLite file that is not there is refused, not made.

    Raises:
        StoreUnreachable, BadInput: see `connect`.
    """
    uri = normalised_uri(tracking_uri)
    if uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE)).is_file():
        raise BadInput(
            tracking_uri, "no MLflow store is there", "give --tracking-uri of a published run"
        )
    return connect(PublishSettings(tracking_uri=tracking_uri))


def connect(settings: PublishSettings) -> TrackingStore:
    """Open the store of `settings`, or make it, trying `attempts` times.

    A cold SQLite file is initialised by one process while the others wait: MLflow's migrations
    crash when two processes start them at once.

    Raises:
        StoreUnreachable: the store did not answer.
        BadInput: the address is none.
    """
    uri = normalised_uri(settings.tracking_uri)
    _quiet_mlflow(settings)
    import mlflow
    from mlflow import MlflowClient

    # Some of MLflow's own code builds clients without an address; both must agree.
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    folder = Path(uri.removeprefix(_SQLITE)).parent if uri.startswith(_SQLITE) else None

    def opened() -> MlflowClient:
        with _initialising(folder):
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            _touch(client)
        return client

    client = patiently(opened, settings)
    return TrackingStore(uri, client, folder)


def patiently(action: Callable[[], T], settings: PublishSettings) -> T:
    """Result of `action`, repeated while the store is away. Raises StoreUnreachable in the end."""
    wait = settings.patience_s
    for attempt in range(1, settings.attempts + 1):
        try:
            return action()
        except Exception as error:
            if not is_outage(error) and not is_refusal(error):
                raise
            if attempt == settings.attempts or not is_outage(error):
                raise StoreUnreachable.of(settings.tracking_uri, error) from error
            log.warning(
                "MLflow store away (attempt %d of %d): %s; next try in %.0f s",
                attempt,
                settings.attempts,
                _first_line(error),
                wait,
            )
            time.sleep(wait)
            wait *= 2
    raise AssertionError("attempts is at least 1")


def is_outage(error: BaseException) -> bool:
    """Whether `error` says that the store is away, rather than that a request was wrong."""
    import requests
    from mlflow.exceptions import MlflowException

    if isinstance(error, requests.ConnectionError | requests.Timeout | ConnectionError):
        return True
    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code >= 500
    if isinstance(error, MlflowException):
        words = (
            *("Max retries", "Connection", "timed out", "too many 50", "502", "503", "504"),
            "database is locked",
        )
        return error.error_code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE") and any(
            word in str(error) for word in words
        )
    return False


def is_refusal(error: BaseException) -> bool:
    """Whether the store answered, or its disk did, and did not take what it was sent."""
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, BadInput):
        return False
    if isinstance(error, OSError) and outage_of(error) is not None:
        return True
    return isinstance(
        error,
        MlflowException
        | SQLAlchemyError
        | requests.RequestException
        | PermissionError
        | ValueError,
    )


@contextlib.contextmanager
def exclusive(store: TrackingStore) -> Iterator[None]:
    """Hold the store's lock: judging, naming versions and moving aliases happen one at a time."""
    if store.folder is not None:
        with _file_lock(store.folder / ".publish.lock"):
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
            log.warning("the lock of the MLflow store was not renewed: %s", _first_line(error))


def _owner(client: Any, name: str) -> str:
    """Who holds a lease; "" where it is gone."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_registered_model(name).tags.get("owner", ""))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return ""


@contextlib.contextmanager
def _initialising(folder: Path | None) -> Iterator[None]:
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with _file_lock(folder / ".initialise.lock"):
        yield


@contextlib.contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    # The kernel drops this lock when its holder dies, even by kill -9.
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(stream, fcntl.LOCK_UN)


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


def _touch(client: Any) -> None:
    client.search_experiments(max_results=1)
    client.search_registered_models(max_results=1)


def _quiet_mlflow(settings: PublishSettings) -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Our own attempts are counted; MLflow's seven per request would hide an outage for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
