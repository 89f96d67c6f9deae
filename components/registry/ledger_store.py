"""Where the ledger's entries lie in MLflow: a claim that one writer wins, and a file for good.

Names of registered models are unique: a primary key of MLflow's database, whichever it is, behind a
server as well. The name claims an entry's number and its tags hold the whole entry, so that claim
and content are stored in one transaction: of all writers of one number one wins, however long one
of them was stopped. Nothing expires. Whoever comes next writes the file of a writer that was killed
after its claim. A claim is removed once its file is stored, and files are never removed: a claim of
a number that has a file is void.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from components.registry.names import STEP
from components.registry.tracking.store import (
    TrackingStore,
    ensure_experiment,
    runs_of,
    write_artifact,
)

if TYPE_CHECKING:
    from mlflow.entities import Run

EXPERIMENT = "glioflow-ledger"
CLAIM_PREFIX = "glioflow-ledger-"

_FOLDER = "entries"
_APPLIED = "applied"
_PART = 4000
"""Characters of one tag; MLflow's database holds 5000."""


def file_name(number: int, content: str) -> str:
    """Name of the file of an entry, from its canonical JSON."""
    return f"{number:06d}-{hashlib.sha256(content.encode()).hexdigest()}.json"


def stored_entries(store: TrackingStore) -> dict[str, str]:
    """Name -> content of all entries: their files, and claims of numbers that have none yet."""
    # A claim is removed after its file is stored: whoever reads claims first misses no entry.
    waiting = {file_name(number, text): text for number, text in claims(store).items()}
    files: dict[str, str] = {}
    for run in _runs(store):
        if store.client.list_artifacts(run.info.run_id, _FOLDER):
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(store.client.download_artifacts(run.info.run_id, _FOLDER, scratch))
                files |= {f.name: f.read_text() for f in folder.iterdir() if f.name[0] != "."}
    numbers = {name[:6] for name in files}
    return files | {name: text for name, text in waiting.items() if name[:6] not in numbers}


def store_claimed(store: TrackingStore) -> set[str]:
    """Write the files of entries that are only claimed; names of all files there are then.

    Any process may do this for any other: the content is the claim's, the file written as a whole.
    """
    held = claims(store)
    names = {
        Path(file.path).name
        for run in _runs(store)
        for file in store.client.list_artifacts(run.info.run_id, _FOLDER)
    }
    for number, text in held.items():
        if not any(name.startswith(f"{number:06d}-") for name in names):
            _write(store, file_name(number, text), text)
            names.add(file_name(number, text))
        release_claim(store, number)
    return names


def claim(store: TrackingStore, number: int, content: str) -> bool:
    """Claim an entry's number with its canonical JSON; False where a claim of it is there.

    That claim may be one's own: a client repeats a request whose answer was lost.
    """
    from mlflow.exceptions import MlflowException

    starts = range(0, len(content), _PART)
    tags = {f"part{i:03d}": content[at : at + _PART] for i, at in enumerate(starts)}
    try:
        store.client.create_registered_model(_claim_name(number), tags=tags)
    except MlflowException as error:
        # MLflow looks up the name that was there already, which may be released meanwhile.
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
            raise
        return False
    return True


def claims(store: TrackingStore) -> dict[int, str]:
    """Number -> canonical JSON of every claim, in order."""
    found = store.client.search_registered_models(f"name LIKE '{CLAIM_PREFIX}%'")
    return {
        int(model.name.removeprefix(CLAIM_PREFIX)): "".join(
            part for _, part in sorted(model.tags.items())
        )
        for model in sorted(found, key=lambda model: model.name)
    }


def release_claim(store: TrackingStore, number: int) -> None:
    """Remove a claim; nothing happens where somebody else did."""
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):
        store.client.delete_registered_model(_claim_name(number))


def applied(store: TrackingStore) -> str:
    """Hash of the entry up to which aliases were brought; "" where nobody noted it."""
    return next((str(run.data.tags.get(_APPLIED, "")) for run in _runs(store)), "")


def note_applied(store: TrackingStore, entry: str) -> None:
    """Note the hash of the entry up to which aliases were brought."""
    store.client.set_tag(_runs(store)[0].info.run_id, _APPLIED, entry)


def _claim_name(number: int) -> str:
    return f"{CLAIM_PREFIX}{number:06d}"


def _write(store: TrackingStore, name: str, content: str) -> None:
    run = ledger_run(store) or _create_run(store)
    write_artifact(store, run, f"{_FOLDER}/{name}", content.encode())


def ledger_run(store: TrackingStore) -> Run | None:
    """The run that holds the ledger; None while there is none."""
    return next(iter(_runs(store)), None)


def _runs(store: TrackingStore) -> list[Run]:
    """The ledger's run, first; and others, where two first writers each made one."""
    return runs_of(store, EXPERIMENT, **{STEP: "ledger"})


def _create_run(store: TrackingStore) -> Run:
    # A database without a server has no place for files that all writers reach, but this one.
    location = (store.folder / "ledger").as_uri() if store.folder else store.artifact_root or None
    experiment = ensure_experiment(store, EXPERIMENT, location)
    run = store.client.create_run(experiment, tags={STEP: "ledger"}, run_name="ledger")
    store.client.set_terminated(run.info.run_id)
    return run
