"""What the server's process needs of the operating system: its ports, and the signals to stop."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from types import FrameType

from components.core.errors import BadInput


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that is filled when SIGTERM or SIGINT arrives."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    kinds = (signal.SIGTERM, signal.SIGINT)
    before = {kind: signal.signal(kind, note) for kind in kinds}
    try:
        yield received
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def free_port(host: str, wanted: int) -> int:
    """`wanted` if it is free, any free one for 0. Raises BadInput when it is taken."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except OSError as error:
            raise BadInput(
                f"port {wanted} on {host}", f"cannot be used ({error.strerror})", "choose another"
            ) from None
        return int(probe.getsockname()[1])


def bracketed(host: str) -> str:
    """A host as it stands before ":PORT": an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
