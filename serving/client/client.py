"""gRPC client for prepared patients: prepares nothing itself, checks what it gets."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from components.core.errors import BadInput, Outage
from components.release.inference.request import Answer, canary_request
from components.release.manifest import Contents
from components.release.tensors import CANARY_ID, ENSEMBLE, Interface
from serving.client import glioflow_client as thin
from serving.client.glioflow_client import Busy, ServerTrouble
from serving.client.glioflow_client.connection import (
    CANARY_DEADLINE_S,
    CANARY_PRIORITY,
    CONNECT_S,
    DEADLINE_S,
    infer_inputs,
)
from serving.client.shared_memory import SharedInputs, Unshared, on_this_machine

__all__ = ["Access", "Busy", "Client", "ServerTrouble", "infer_inputs"]

log = logging.getLogger(__name__)

T = TypeVar("T")


@contextmanager
def _ours() -> Iterator[None]:
    """The thin client's errors as this application's."""
    try:
        yield
    except thin.Unreachable as error:
        raise Outage(error.subject, error.problem, error.remedy) from None
    except thin.Refused as error:
        raise BadInput(error.subject, error.problem, error.remedy) from None


class Access(thin.Access):
    """See glioflow_client.Access; raises BadInput."""

    def __post_init__(self) -> None:
        with _ours():
            super().__post_init__()


class Client(thin.Connection):
    """One connection to a server; use as a context manager. Safe to share between threads.

    Args:
        address: HOST:PORT of Triton's gRPC interface.
        deadline_s: longest wait for one patient, retries included.
        access: see Access.
        shared_memory: hand images over in memory to a server on this machine; where that does not
            work, they are sent, and the log says so.
    """

    def __init__(
        self,
        address: str,
        *,
        deadline_s: float = DEADLINE_S,
        access: Access | None = None,
        shared_memory: bool = True,
    ) -> None:
        with _ours():
            super().__init__(address, deadline_s=deadline_s, access=access)
        self._contents: Contents | None = None
        self._shared: SharedInputs | None = None
        if shared_memory and on_this_machine(self.host):
            self._shared = SharedInputs(self._raw, self.access.headers)

    def patiently(self, call: Callable[[float], T], patience_s: float | None = None) -> T:
        """See Connection; raises BadInput, Outage, Busy or ServerTrouble."""
        with _ours():
            return super().patiently(call, patience_s)

    def contents(self, *, fresh: bool = False) -> Contents:
        """What the served release expects; asked once, or again when `fresh`.

        Raises BadInput: nothing answers at this address, or it is no server of ours.
        """
        if self._contents is None or fresh:
            config = self.patiently(
                lambda left: self._raw.get_model_config(
                    ENSEMBLE, headers=self.access.headers, client_timeout=left
                ),
                CONNECT_S,
            )
            self._contents = contents_of(config.config.parameters, self.address)
        return self._contents

    def ask(self, tensors: Mapping[str, np.ndarray], *, request_id: str = "") -> Answer:
        """Answer for one patient's tensors; see request_tensors.

        Retries while the server is busy or away, until the deadline.

        Raises:
            BadInput: the server refused the input; names the tensor.
            Busy: it was full until the deadline.
            ServerTrouble: anything else went wrong on the server.
        """
        request_id = request_id or uuid.uuid4().hex
        return Answer.from_tensors(self.infer(tensors, request_id=request_id))

    def infer(self, tensors: Mapping[str, np.ndarray], *, request_id: str) -> dict[str, np.ndarray]:
        """The ensemble's outputs, as they come; else like `ask`."""
        return _outputs(self.patiently(lambda left: self._send(tensors, request_id, left)))

    def _send(self, tensors: Mapping[str, np.ndarray], request_id: str, left: float) -> Any:
        shared = self._shared
        if shared is not None:
            try:
                with shared.holding(tensors, left) as inputs:
                    return self.attempt(ENSEMBLE, inputs, request_id, left)
            except Unshared as error:
                log.warning("server %s shares no memory (%s): sending", self.address, error)
                self._shared = None
        return self.attempt(ENSEMBLE, infer_inputs(tensors), request_id, left)

    def attempt(
        self, model: str, inputs: list[Any], request_id: str, left: float, priority: int = 0
    ) -> Any:
        """One attempt; of the mask, the compressed form alone is asked for."""
        from tritonclient.grpc import InferRequestedOutput

        wanted = [InferRequestedOutput(name) for name in _WANTED]
        left = min(left, self.deadline_s)
        return self._raw.infer(
            model,
            inputs,
            outputs=wanted,
            request_id=request_id,
            headers=self.access.headers,
            client_timeout=left,
            priority=priority,
        )

    def canary(self) -> str | None:
        """None when the ensemble answers a whole request; else why it does not."""
        from tritonclient.utils import InferenceServerException

        try:
            config = self._raw.get_model_config(
                ENSEMBLE, headers=self.access.headers, client_timeout=CANARY_DEADLINE_S
            )
            contents = contents_of(config.config.parameters, self.address)
            inputs = infer_inputs(canary_request(contents))
            result = self.attempt(ENSEMBLE, inputs, CANARY_ID, CANARY_DEADLINE_S, CANARY_PRIORITY)
            Answer.from_tensors(_outputs(result))
        except InferenceServerException as error:
            return f"{error.status()}: {error.message()}"
        except BadInput as error:
            return str(error)
        return None


_WANTED = tuple(t.name for t in Interface.answers() if t.name != "mask")


def _outputs(result: Any) -> dict[str, np.ndarray]:
    return {o.name: result.as_numpy(o.name) for o in result.get_response().outputs}


def contents_of(parameters: Mapping[str, Any], address: str) -> Contents:
    """Contents from the ensemble's config. Raises BadInput when it is no release of ours."""
    try:
        return Contents.model_validate_json(parameters["contents"].string_value)
    except (KeyError, ValueError):
        raise BadInput(
            f"server {address}", "serves no release of this version", "serve one: `glioflow serve`"
        ) from None
