"""Which releases a running server holds: explicit model control, one release beside another."""

from __future__ import annotations

import contextlib
import time
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


def load(server: InferenceServerClient, release: str) -> None:
    """Load a release's models beside those that serve, then the ensemble over itself.

    Raises:
        InferenceServerException: one of them does not load; the ensemble is as it was, and what
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
    with ImagesClient(client.address, access=client.access) as images:
        return images.canary()


def await_release(address: str, release: str) -> None:
    """Return when a server answers a whole request with this release.

    Raises:
        BadInput: it still answers with another, or not at all, after LOAD_TIMEOUT_S.
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
