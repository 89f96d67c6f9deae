"""Which releases a running server holds: explicit model control, one release beside another."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.core.errors import BadInput
from components.release.release import model_name, suffix_of
from components.release.tensors import ENSEMBLE, ENSEMBLES, Step
from serving.client.client import Client
from serving.client.glioflow_client import ImagesClient

if TYPE_CHECKING:
    from tritonclient.grpc import InferenceServerClient

LOAD_TIMEOUT_S = 300.0
LOOK_EVERY_S = 1.0

_WAITED = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", " is busy: ")
"""What a canary is told that found a queue full, or stood in one for too long."""


def load(server: InferenceServerClient, release: str) -> None:
    """Load a release's models beside those that serve, then the ensemble over itself.

    Raises InferenceServerException: one of them does not load; the ensemble is as it was, and what
    was loaded of the release is gone again.
    """
    try:
        for step in Step:
            server.load_model(model_name(step, suffix_of(release)))
    except Exception:
        unload(server, release)
        raise
    # Loaded over, never unloaded: requests meet the old ensemble or the new one.
    for name in ENSEMBLES:
        server.load_model(name)


def unload(server: InferenceServerClient, release: str) -> None:
    """Take away the models of a release that no ensemble names any more."""
    for step in Step:
        with contextlib.suppress(Exception):
            server.unload_model(model_name(step, suffix_of(release)))


def unanswered(client: Client) -> str | None:
    """None when both ensembles of a server answer a whole request; else why one does not."""
    reason = client.canary()
    if reason is not None:
        return reason
    with ImagesClient(client.address, access=client.access, deadline_s=client.deadline_s) as images:
        return images.canary()


@dataclass(frozen=True)
class Health:
    """Whether a server answers patients, and what to say of it."""

    alive: bool
    said: str


def health(client: Client, patience_s: float) -> Health:
    """Health of a server, told from its own canaries or, when it is full, from patients' answers.

    A full queue refuses the canary as it refuses patients. Such a server is alive while it
    answers those it took: an answer has passed every model that a prepared patient needs.

    Args:
        client: one whose `deadline_s` bounds each canary.
        patience_s: seconds, canaries included, within which a full server must give an answer.
    """
    deadline = time.monotonic() + patience_s
    before = _answers(client)
    reason = unanswered(client)
    if reason is None:
        return Health(alive=True, said="both ensembles answer")
    while before is not None and any(told in reason for told in _WAITED):
        now = _answers(client)
        if now is None or (now <= before and time.monotonic() > deadline):
            break
        if now > before:
            return Health(alive=True, said="full, and answering the patients it took")
        before = now
        time.sleep(LOOK_EVERY_S)
    return Health(alive=False, said=reason)


def _answers(client: Client) -> int | None:
    """Answers that the last model has given, of every release; None when the server is away."""
    from tritonclient.utils import InferenceServerException

    try:
        told = client.raw.get_inference_statistics(
            headers=client.access.headers, client_timeout=client.deadline_s
        )
    except InferenceServerException:
        return None
    return sum(
        int(model.inference_stats.success.count)
        for model in told.model_stats
        if model.name.rpartition("_")[0] == Step.ANSWER.value
    )


def await_release(address: str, release: str) -> None:
    """Return when a server answers a whole request with this release.

    Raises BadInput: it still answers with another, or not at all, after LOAD_TIMEOUT_S.
    """
    deadline = time.monotonic() + LOAD_TIMEOUT_S
    with Client(address) as client:
        while _served(client) != release or unanswered(client) is not None:
            if time.monotonic() > deadline:
                raise BadInput(
                    f"server {address}",
                    f"answers with {_served(client) or 'nothing'}, not with {release}",
                    "see its log; it must serve this --store",
                )
            time.sleep(LOOK_EVERY_S)


def _served(client: Client) -> str:
    """Id of the release that the ensemble names; empty when the server is away."""
    from tritonclient.utils import InferenceServerException

    try:
        config = client.raw.get_model_config(ENSEMBLE).config
    except InferenceServerException:
        return ""
    return config.parameters["release"].string_value
