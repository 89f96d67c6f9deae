"""The MLflow store: opened safely, tried again when away, locked for what must not race."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlparse

from filelock import FileLock

from components.core.errors import BadInput, Outage, outage_of
from components.core.files import atomic
from components.registry.settings import PublishSettings
from components.registry.tracking.lock import first_line, touch

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)
T = TypeVar("T")


_SQLITE = "sqlite:///"
_QUIET = ("mlflow", "alembic")


_LOGIN = "give MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"
_REMEDIES = (
    (
        "401|UNAUTHENTICATED",
        _LOGIN,
    ),
    ("403|PERMISSION_DENIED", "allow this account to write there"),
    ("413", "raise the body size that the proxy before MLflow takes"),
    ("404", "check the address: no MLflow API is there"),
    ("certificate|CERTIFICATE", "set REQUESTS_CA_BUNDLE to the file of its authority"),
    ("locked", "end what else writes to that database"),
    ("readonly", "make the database file writable"),
    ("disk is full", "make room on that disk"),
    ("507", "make room in the store"),
    ("<html|<!doctype|JSON", "check the address: a web page answers there, perhaps a login"),
)
"""Pattern in an error's message -> what mends it; the first that fits."""


class StoreUnreachable(Outage):
    """The MLflow store did not answer, or did not take what it was sent."""

    @classmethod
    def of(cls, uri: str, error: BaseException) -> StoreUnreachable:
        """What an error of the store means, in one line."""
        text = str(error)
        remedy = next(
            (r for part, r in _REMEDIES if re.search(part, text)), "check it, and try again"
        )
        return cls(uri.partition("?")[0], f"MLflow did not take it ({first_line(error)})", remedy)

    def later(self, how: str) -> StoreUnreachable:
        """The same error, which also says how to send the run once the store is mended."""
        return StoreUnreachable(self.subject, self.problem, f"{self.remedy}, then {how}")


@dataclass(frozen=True)
class TrackingStore:
    """An open store.

    Attributes:
        folder: that of its SQLite database, None for a server.
        artifact_root: where the settings keep files, as MLflow takes it; empty: where MLflow does.
    """

    uri: str
    client: MlflowClient
    folder: Path | None
    artifact_root: str = ""


def runs_of(store: TrackingStore, experiment: str, **tags: str) -> list[Run]:
    """The runs of an experiment that have these tags, oldest first."""
    found = store.client.get_experiment_by_name(experiment)
    if found is None:
        return []
    wanted = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    order = ["attributes.start_time ASC"]
    return list(store.client.search_runs([found.experiment_id], wanted, order_by=order))


def first_run(store: TrackingStore, experiment: str, **tags: str) -> Run | None:
    """The oldest run of an experiment that has these tags."""
    return next(iter(runs_of(store, experiment, **tags)), None)


def ensure_experiment(
    store: TrackingStore, name: str, location: str | None, tags: dict[str, str] | None = None
) -> str:
    """Id of an experiment, created where it is missing.

    Args:
        location: of the files of its runs; None: where the server keeps them.
    """
    from mlflow.exceptions import MlflowException

    found = store.client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    try:
        return store.client.create_experiment(name, location, tags)
    except MlflowException:
        # Another process created it in between.
        found = store.client.get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id


def download_artifacts(store: TrackingStore, run_id: str, name: str, folder: Path) -> Path | None:
    """Files of a run, or one of them; None where they are missing."""
    from mlflow.exceptions import MlflowException

    folder.mkdir(parents=True, exist_ok=True)
    try:
        path = Path(store.client.download_artifacts(run_id, name, str(folder)))
    except (MlflowException, OSError) as error:
        if is_outage(error):
            raise
        return None
    # Behind a server, a folder that is missing is an empty answer.
    return path if path.exists() else None


def write_artifact(store: TrackingStore, run: Run, name: str, content: bytes) -> None:
    """Write one file of a run (folder/name); whole or not at all, wherever the store keeps it."""
    root = urlparse(run.info.artifact_uri)
    if root.scheme in ("", "file"):
        # MLflow copies into a local folder in place; a kill would leave half a file.
        with atomic(Path(unquote(root.path)) / name) as temporary:
            temporary.write_bytes(content)
        return
    folder, _, base = name.rpartition("/")
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / base).write_bytes(content)
        store.client.log_artifact(run.info.run_id, str(Path(scratch) / base), folder or None)


def normalised_uri(uri: str) -> str:
    """`uri` as MLflow takes it: a SQLite path made absolute, a bare folder turned into SQLite.

    Raises BadInput: an address MLflow or this project does not support (file://, another scheme).
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

    Raises StoreUnreachable, BadInput: see `connect`.
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
    _quiet_mlflow()
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
            touch(client)
        return client

    client = patiently(opened, settings)
    root = settings.artifact_root
    if root and "://" not in root:
        root = Path(root).resolve().as_uri()
    return TrackingStore(uri, client, folder, root)


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
                first_line(error),
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


def _initialising(folder: Path | None) -> AbstractContextManager[object]:
    if folder is None:
        return nullcontext()
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".initialise.lock")


def _quiet_mlflow() -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Our own attempts are counted; MLflow's seven per request would hide an outage for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
