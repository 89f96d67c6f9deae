"""What the server's process needs of the operating system: ports, signals, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
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


def end_group(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """End a server that leads a session of its own, and the stubs of its models.

    Args:
        patience_s: seconds it gets to end by itself, after which it is killed.
    """
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


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
