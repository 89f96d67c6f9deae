"""gRPC client of the ensemble: deadlines, retries where they help, errors a user can act on."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from components.core.errors import BadInput, Outage
from components.release.manifest import Contents
from components.release.request import Answer, canary_request
from components.release.tensors import CANARY_ID, ENSEMBLE
from serving.client.shared_memory import SharedInputs, Unshared, on_this_machine

if TYPE_CHECKING:
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

log = logging.getLogger(__name__)

T = TypeVar("T")

DEADLINE_S = 300.0
"""Longest wait for one patient, all retries together."""

CONNECT_S = 5.0
"""Longest wait for a server that was never seen: it is more likely absent than busy."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
CANARY_DEADLINE_S = 60.0

_UNAVAILABLE = "StatusCode.UNAVAILABLE"
_REFUSED = ("StatusCode.INVALID_ARGUMENT", "StatusCode.RESOURCE_EXHAUSTED")
_PASSING = (_UNAVAILABLE, "StatusCode.CANCELLED")
_STRANGER = ("StatusCode.UNAUTHENTICATED", "StatusCode.PERMISSION_DENIED")


class ServerTrouble(RuntimeError):
    """The server did not answer, or answered that it is at fault."""


class Busy(ServerTrouble):
    """The server refused for want of room until the deadline passed."""


@dataclass(frozen=True)
class Access:
    """How to reach a server that is not on this machine.

    Attributes:
        tls: encrypt; with the authorities in `certificates` (PEM) instead of the system's.
        identity: this client's certificate and its private key (PEM), where the server asks.
        token: sent as `authorization: Bearer ...` with every request.

    Raises:
        BadInput: one of the files is missing, or something secret would travel unencrypted.
    """

    tls: bool = False
    certificates: Path | None = None
    identity: tuple[Path, Path] | None = None
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        files = [file for file in (self.certificates, *(self.identity or ())) if file]
        if not self.tls and (files or self.token):
            raise BadInput("--tls", "not given beside certificates or a token", "add --tls")
        for file in files:
            if not file.is_file():
                raise BadInput(file, "no such file", "give a PEM file")

    @property
    def channel(self) -> dict[str, Any]:
        """What tritonclient's InferenceServerClient takes."""
        certificate, key = self.identity or (None, None)
        return {
            "ssl": self.tls,
            "root_certificates": str(self.certificates) if self.certificates else None,
            "certificate_chain": str(certificate) if certificate else None,
            "private_key": str(key) if key else None,
        }

    @property
    def headers(self) -> dict[str, str]:
        """gRPC metadata."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


class Client:
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
        from tritonclient.grpc import InferenceServerClient

        host, colon, port = address.rpartition(":")
        if not (host and colon and port.isdigit()):
            raise BadInput(
                f"server '{address}'", "not HOST:PORT", "give the gRPC port, e.g. localhost:8001"
            )
        self.address, self.deadline_s = address, deadline_s
        self.access = access or Access()
        self._raw = InferenceServerClient(address, **self.access.channel)
        self._contents: Contents | None = None
        self._shared: SharedInputs | None = None
        if shared_memory and on_this_machine(host):
            self._shared = SharedInputs(self._raw, self.access.headers)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()

    @property
    def raw(self) -> InferenceServerClient:
        """The tritonclient beneath."""
        return self._raw

    def contents(self, *, fresh: bool = False) -> Contents:
        """What the served release expects; asked once, or again when `fresh`.

        Raises:
            BadInput: nothing answers at this address, or it is no server of ours.
        """
        if self._contents is None or fresh:
            config = self._patiently(
                lambda left: self._raw.get_model_config(
                    ENSEMBLE, headers=self.access.headers, client_timeout=left
                ),
                CONNECT_S,
            )
            self._contents = contents_of(config.config.parameters, self.address)
        return self._contents

    def ask(self, tensors: Mapping[str, np.ndarray], *, request_id: str = "") -> Answer:
        """Answer for one patient's tensors; see components.release.request.request_tensors.

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
        result = self._patiently(lambda left: self._attempt(tensors, request_id, left))
        return {
            output.name: result.as_numpy(output.name) for output in result.get_response().outputs
        }

    def _attempt(self, tensors: Mapping[str, np.ndarray], request_id: str, left: float) -> Any:
        shared = self._shared
        if shared is not None:
            try:
                with shared.holding(tensors, left) as inputs:
                    return self._infer(inputs, request_id, left)
            except Unshared as error:
                log.warning("server %s shares no memory (%s): sending", self.address, error)
                self._shared = None
        return self._infer(infer_inputs(tensors), request_id, left)

    def _infer(self, inputs: list[Any], request_id: str, left: float) -> Any:
        return self._raw.infer(
            ENSEMBLE,
            inputs,
            request_id=request_id,
            headers=self.access.headers,
            client_timeout=left,
        )

    def _patiently(self, call: Callable[[float], T], patience_s: float | None = None) -> T:
        """Call with the time left, again with growing pauses while the server is unavailable."""
        from tritonclient.utils import InferenceServerException

        wait = self.deadline_s if patience_s is None else min(patience_s, self.deadline_s)
        deadline = time.monotonic() + wait
        pause = FIRST_PAUSE_S
        while True:
            left = deadline - time.monotonic()
            try:
                return call(max(left, 0.001))
            except InferenceServerException as error:
                if error.status() not in _PASSING or time.monotonic() + pause > deadline:
                    raise explained(error, self.address) from None
            time.sleep(pause)
            pause = min(2.0 * pause, LONGEST_PAUSE_S)

    def canary(self) -> str | None:
        """None when the ensemble answers a whole request; else why it does not."""
        from tritonclient.utils import InferenceServerException

        try:
            config = self._raw.get_model_config(
                ENSEMBLE, headers=self.access.headers, client_timeout=CANARY_DEADLINE_S
            )
            contents = contents_of(config.config.parameters, self.address)
            inputs = infer_inputs(canary_request(contents))
            result = self._infer(inputs, CANARY_ID, CANARY_DEADLINE_S)
            Answer.from_tensors(
                {o.name: result.as_numpy(o.name) for o in result.get_response().outputs}
            )
        except InferenceServerException as error:
            return f"{error.status()}: {error.message()}"
        except BadInput as error:
            return str(error)
        return None


def infer_inputs(tensors: Mapping[str, np.ndarray]) -> list[Any]:
    """tritonclient's inputs, types taken from the arrays."""
    from tritonclient.grpc import InferInput
    from tritonclient.utils import np_to_triton_dtype

    inputs = []
    for name, array in tensors.items():
        entry = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        entry.set_data_from_numpy(np.ascontiguousarray(array))
        inputs.append(entry)
    return inputs


def contents_of(parameters: Mapping[str, Any], address: str) -> Contents:
    """Contents from the ensemble's config. Raises BadInput when it is no release of ours."""
    try:
        return Contents.model_validate_json(parameters["contents"].string_value)
    except (KeyError, ValueError):
        raise BadInput(
            f"server {address}", "serves no release of this version", "serve one: `glioflow serve`"
        ) from None


def explained(error: InferenceServerException, address: str) -> Exception:
    """A Triton error as ours: BadInput where the caller can mend it, Outage where no patient is
    at fault."""
    status, message = str(error.status()), _one_line(str(error.message()))
    if status in _REFUSED:
        subject, _, rest = message.partition(": ")
        problem, _, remedy = rest.partition("; ")
        if not (problem and remedy):
            subject, problem, remedy = f"server {address}", message, "send what the release expects"
        return BadInput(subject, problem, remedy)
    if status in _STRANGER:
        return Outage(f"server {address}", f"refuses who asks ({message})", "give a valid --token")
    if "handshake failed" in message.lower():
        return Outage(
            f"server {address}", "its certificate is not trusted", "give its authority's --ca"
        )
    if status == _UNAVAILABLE and "socket closed" in message.lower():
        return Outage(
            f"server {address}",
            "closed the connection",
            "it may want --tls, or a --certificate with its --key",
        )
    if status == _UNAVAILABLE and "failed to connect" in message.lower():
        return Outage(
            f"server {address}", "nothing answers there", "start one with `glioflow serve`"
        )
    if status == _UNAVAILABLE and "queue" in message.lower():
        return Busy(f"server {address} is busy: {message}")
    return ServerTrouble(f"server {address}: {status}: {message}")


def _one_line(message: str) -> str:
    """The last part that Triton's own prefixes leave of a message, on one line."""
    text = " ".join(message.split())
    for prefix in ("in ensemble", "[request id:"):
        if text.startswith(prefix):
            cut = text.find(", " if prefix == "in ensemble" else "] ")
            text = text[cut + 2 :] if cut >= 0 else text
    return text
