"""Claims on the numbers of ledger entries: a compare-and-set in a store that offers none for files.

Names of registered models are unique. The name claims an entry's number and its tags hold the
whole entry, so that claim and content are stored in one transaction: of two writers of one number
one wins, and whoever comes next can write the file of a writer that was killed after its claim.
A claim is removed once its file is stored. A claim of a number that has a file is void.
"""

from __future__ import annotations

import contextlib

from components.registry.tracking.store import TrackingStore

CLAIM_PREFIX = "glioflow-ledger-"
_PART = 4000
"""Characters of one tag; MLflow's database holds 5000."""


def claim(store: TrackingStore, number: int, content: str) -> bool:
    """Claim an entry's number with its canonical JSON; False where another writer holds it."""
    from mlflow.exceptions import MlflowException

    starts = range(0, len(content), _PART)
    tags = {f"part{i:03d}": content[at : at + _PART] for i, at in enumerate(starts)}
    try:
        store.client.create_registered_model(_name(number), tags=tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
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
        store.client.delete_registered_model(_name(number))


def _name(number: int) -> str:
    return f"{CLAIM_PREFIX}{number:06d}"
