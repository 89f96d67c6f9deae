"""One connection to a server: how to reach it, how long to try."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .errors import Refused, explained

if TYPE_CHECKING:
    from tritonclient.grpc import InferenceServerClient

T = TypeVar("T")
Self = TypeVar("Self", bound="Connection")

DEADLINE_S = 300.0
"""Longest wait for one patient, all retries together."""

CONNECT_S = 5.0
"""Longest wait for a server that was never seen: it is more likely absent than busy."""

CANARY_DEADLINE_S = 60.0
CANARY_PRIORITY = 1
"""Before the patients, in a queue of its own."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
_PASSING = ("StatusCode.UNAVAILABLE", "StatusCode.CANCELLED")


@dataclass(frozen=True)
class Access:
    """How to reach a server that is not on this machine.

    Attributes:
        tls: encrypt; with the authorities in `certificates` (PEM) instead of the system's.
        identity: this client's certificate and its private key (PEM), where the server asks.
        token: sent as `authorization: Bearer ...` with every request.

    Raises:
        Refused: one of the files is missing, or something secret would travel unencrypted.
    """

    tls: bool = False
    certificates: Path | None = None
    identity: tuple[Path, Path] | None = None
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        files = [file for file in (self.certificates, *(self.identity or ())) if file]
        if not self.tls and (files or self.token):
            raise Refused("--tls", "not given beside certificates or a token", "add --tls")
        for file in files:
            if not file.is_file():
                raise Refused(file, "no such file", "give a PEM file")

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


class Connection:
    """One connection to a server; use as a context manager. Safe to share between threads.

    Args:
        address: HOST:PORT of Triton's gRPC interface.
        deadline_s: longest wait for one patient, retries included.
        access: see Access.
    """

    def __init__(
        self, address: str, *, deadline_s: float = DEADLINE_S, access: Access | None = None
    ) -> None:
        from tritonclient.grpc import InferenceServerClient

        host, colon, port = address.rpartition(":")
        bare_ipv6 = (host.startswith(":") or host.count(":") > 1) and not host.endswith("]")
        if not (host and colon and port.isdigit()) or bare_ipv6:
            raise Refused(
                f"server '{address}'",
                "not HOST:PORT",
                "give the gRPC port, e.g. localhost:8001 or [::1]:8001",
            )
        self.address, self.deadline_s, self.host = address, deadline_s, host
        self.access = access or Access()
        self._raw = InferenceServerClient(address, **self.access.channel)

    def __enter__(self: Self) -> Self:
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

    def patiently(self, call: Callable[[float], T], patience_s: float | None = None) -> T:
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

    def attempt(
        self, model: str, inputs: list[Any], request_id: str, left: float, priority: int = 0
    ) -> Any:
        """One attempt, by tritonclient."""
        return self._raw.infer(
            model,
            inputs,
            request_id=request_id,
            headers=self.access.headers,
            client_timeout=left,
            priority=priority,
        )


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
