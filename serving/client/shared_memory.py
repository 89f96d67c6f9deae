"""Inputs in shared memory: a server on this machine reads them where the client wrote them.

A region has a name in /dev/shm only until the server has opened it, so that nothing stays there
whatever becomes of the client. The server holds it until it is told to let go, and must not be told
while the request may still be inside: Triton 2.45 reads on, and dies of it.
"""

from __future__ import annotations

import ipaddress
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tritonclient.grpc import InferenceServerClient

FOLDER = Path("/dev/shm")  # noqa: S108
"""Where Linux shows shared memory by name."""

PREFIX = "glioflow"
GRACE_S = 3600.0
"""How long after its client has gone a request may still be inside the server."""

CALL_S = 10.0
"""Longest wait for the server to open a region or to let go of it."""

ALIGNED = 64
_LEFT_INSIDE = ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED")
_AWAY = ("StatusCode.UNAVAILABLE", *_LEFT_INSIDE)


class Unshared(RuntimeError):
    """The server cannot read what this client writes into memory."""


def on_this_machine(host: str) -> bool:
    """Whether a host's name is that of the loopback, on a system that shares memory by name."""
    name = host.strip("[]")
    try:
        loopback = name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
    return loopback and FOLDER.is_dir()


class SharedInputs:
    """The regions of one client; safe to share between threads.

    Args:
        raw: connection to the server.
        headers: sent with every call.
    """

    def __init__(self, raw: InferenceServerClient, headers: Mapping[str, str]) -> None:
        self._raw = raw
        self._options: dict[str, Any] = {"headers": dict(headers), "client_timeout": CALL_S}
        self._swept = False

    @contextmanager
    def holding(self, tensors: Mapping[str, np.ndarray], wait_s: float) -> Iterator[list[Any]]:
        """tritonclient's inputs, in memory that the server holds for the time of the block.

        When the block ends by an error that leaves the request in the server, the region stays for
        a later client to take away.

        Args:
            wait_s: how long the client waits for the answer.

        Raises:
            Unshared: the tensors cannot be shared, or not with this server.
        """
        if not self._swept:
            self.sweep()
        # The name tells until when: whoever finds it later may take it away.
        name = f"{PREFIX}-{int(time.time() + wait_s + GRACE_S)}-{uuid.uuid4().hex}"
        inputs, size = _laid_out(tensors, name)
        self._hand_over(name, size, list(tensors.values()))
        try:
            yield inputs
        except BaseException as error:
            if not _left_inside(error):
                self._let_go(name)
            raise
        self._let_go(name)

    def sweep(self) -> None:
        """Let the server go of what clients before left behind, once its time is over."""
        from tritonclient.utils import InferenceServerException

        with suppress(InferenceServerException):
            regions = self._raw.get_system_shared_memory_status(**self._options).regions
            for name in regions:
                prefix, _, rest = name.partition("-")
                until = rest.partition("-")[0]
                if prefix == PREFIX and until.isdigit() and int(until) < time.time():
                    self._let_go(name)
            self._swept = True

    def _hand_over(self, name: str, size: int, arrays: list[np.ndarray]) -> None:
        """Write the arrays into a new region, have the server open it, take its name away."""
        from tritonclient.utils import InferenceServerException
        from tritonclient.utils import shared_memory as system

        try:
            region = system.create_shared_memory_region(name, name, size, create_only=True)
        except system.SharedMemoryException as error:
            raise Unshared(str(error.__cause__)) from None
        try:
            _reserve(FOLDER / name, size)
            for array, offset in zip(arrays, _offsets(arrays), strict=False):
                system.set_shared_memory_region(region, [_bytes_of(array)], offset)
            self._raw.register_system_shared_memory(name, f"/{name}", size, **self._options)
        except OSError as error:
            raise Unshared(str(error)) from None
        except InferenceServerException as error:
            if str(error.status()) in _AWAY:
                raise
            raise Unshared(str(error.message())) from None
        finally:
            system.destroy_shared_memory_region(region)

    def _let_go(self, name: str) -> None:
        from tritonclient.utils import InferenceServerException

        with suppress(InferenceServerException):
            self._raw.unregister_system_shared_memory(name, **self._options)


def _left_inside(error: BaseException) -> bool:
    """Whether a request may still be in the server after its call has ended so."""
    from tritonclient.utils import InferenceServerException

    return not isinstance(error, InferenceServerException) or str(error.status()) in _LEFT_INSIDE


def _laid_out(tensors: Mapping[str, np.ndarray], name: str) -> tuple[list[Any], int]:
    """Inputs that lie one after the other in the region `name`, and its size in bytes."""
    from tritonclient.grpc import InferInput
    from tritonclient.utils import np_to_triton_dtype

    if any(array.dtype.kind not in "biuf" for array in tensors.values()):
        raise Unshared("other than numbers")
    *offsets, size = _offsets(list(tensors.values()))
    inputs = []
    for (tensor, array), offset in zip(tensors.items(), offsets, strict=True):
        entry = InferInput(tensor, list(array.shape), np_to_triton_dtype(array.dtype))
        entry.set_shared_memory(name, array.nbytes, offset)
        inputs.append(entry)
    return inputs, max(size, 1)


def _offsets(arrays: list[np.ndarray]) -> list[int]:
    """Where each array begins, and where the last one ends."""
    sizes = [-(-array.nbytes // ALIGNED) * ALIGNED for array in arrays]
    return [0, *np.cumsum(sizes, dtype=int).tolist()]


def _bytes_of(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _reserve(path: Path, size: int) -> None:
    """Take the memory now: where there is none, writing to a mapping would end the process."""
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, size)
