"""What can go wrong, by who can mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tritonclient.utils import InferenceServerException

_UNAVAILABLE = "StatusCode.UNAVAILABLE"
_REFUSED = ("StatusCode.INVALID_ARGUMENT", "StatusCode.RESOURCE_EXHAUSTED")
_STRANGER = ("StatusCode.UNAUTHENTICATED", "StatusCode.PERMISSION_DENIED")


class Refused(ValueError):
    """Input that the caller can mend.

    Attributes:
        subject: the file, option or tensor at fault.
        problem: what is wrong with it.
        remedy: what to do.
    """

    def __init__(self, subject: object, problem: str, remedy: str) -> None:
        self.subject, self.problem, self.remedy = str(subject), problem, remedy
        super().__init__(f"{subject}: {problem}; {remedy}")


class Unreachable(Refused):
    """No patient is at fault: nothing answers there, or it does not let us in."""


class ServerTrouble(RuntimeError):
    """The server did not answer, or answered that it is at fault."""


class Busy(ServerTrouble):
    """The server refused for want of room until the deadline passed."""


def explained(error: InferenceServerException, address: str) -> Exception:
    """A Triton error as ours: Refused where the caller can mend it, Unreachable where no patient
    is at fault."""
    status, message = str(error.status()), one_line(str(error.message()))
    server, told = f"server {address}", message.lower()
    if status in _REFUSED:
        subject, _, rest = message.partition(": ")
        problem, _, remedy = rest.partition("; ")
        if not (problem and remedy):
            subject, problem, remedy = server, message, "send what the release expects"
        return Refused(subject, problem, remedy)
    if status in _STRANGER:
        return Unreachable(server, f"refuses who asks ({message})", "give a valid --token")
    if "handshake failed" in told:
        return Unreachable(server, "its certificate is not trusted", "give its authority's --ca")
    if status == _UNAVAILABLE and "socket closed" in told:
        remedy = "it may want --tls, or a --certificate with its --key"
        return Unreachable(server, "closed the connection", remedy)
    if status == _UNAVAILABLE and "failed to connect" in told:
        return Unreachable(server, "nothing answers there", "start one with `glioflow serve`")
    if says_busy(status, told):
        return Busy(f"{server} is busy: {message}")
    return ServerTrouble(f"{server}: {status}: {message}")


def says_busy(status: str, message: str) -> bool:
    """Whether Triton refused a request because its queue was full, or held it for too long."""
    told = message.lower()
    return status == _UNAVAILABLE and ("queue" in told or "request timeout expired" in told)


def one_line(message: str) -> str:
    """The last part that Triton's own prefixes leave of a message, on one line."""
    text = " ".join(message.split())
    for prefix in ("in ensemble", "[request id:"):
        if text.startswith(prefix):
            cut = text.find(", " if prefix == "in ensemble" else "] ")
            text = text[cut + 2 :] if cut >= 0 else text
    return text
