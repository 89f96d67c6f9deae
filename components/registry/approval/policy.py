"""Who may approve what, and how many it takes: OpenSSH's allowed signers in a file of ours.

The file is kept in the ledger, word for word, by an entry of its own, so that whoever promotes
cannot leave it out. Its lines of allowed signers mean what `man ssh-keygen` says they do.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field, ValidationError

from components.core.errors import BadInput
from components.core.settings import Settings
from components.registry.ledger import Entry
from components.registry.names import Alias, RegisteredModel

if TYPE_CHECKING:
    from sshsig import PublicKey

POLICY_EVENT = "approvers"
"""Event of the ledger's entries that put a policy in force."""

CHAMPION_NAMESPACE = f"glioflow:{RegisteredModel.RELEASE}@{Alias.CHAMPION}"
POLICY_NAMESPACE = "glioflow:approvers"
"""Namespaces of signatures: what a line of allowed signers may be limited to."""

_LINE = 'NAME namespaces="glioflow:*" ssh-ed25519 KEY'


@dataclass(frozen=True)
class Signer:
    """One line of allowed signers.

    Attributes:
        principals, namespaces: lists of patterns, as OpenSSH has them.
        after, before: when the key is valid, UTC.
    """

    principals: str
    namespaces: str
    after: datetime
    before: datetime
    key: PublicKey

    def may(self, principal: str, namespace: str, at: datetime) -> bool:
        """Whether this line lets its key speak for `principal` in `namespace` at a time."""
        named = _matches(principal, self.principals) and _matches(namespace, self.namespaces)
        return named and self.after <= at < self.before


class ApprovalPolicy(Settings):
    """The file that `glioflow approvers` takes.

    Attributes:
        approvals: how many different people must sign.
        automatic: a release that passes its gate may become champion without them.
        allowed_signers: lines of OpenSSH's format, ssh-ed25519 or ssh-rsa.
    """

    approvals: int = Field(default=1, ge=1)
    automatic: bool = True
    allowed_signers: str

    @cached_property
    def signers(self) -> tuple[Signer, ...]:
        """The lines, read. Raises BadInput naming the first that is wrong."""
        from sshsig.allowed_signers import load_allowed_signers_file

        signers = []
        for number, line in enumerate(self.allowed_signers.splitlines(), 1):
            try:
                signers += [
                    _signer(*(read.principals, read.options or {}, read.key_type, read.base64_key))
                    for read in load_allowed_signers_file(io.StringIO(line.strip()))
                ]
            except (ValueError, NotImplementedError, IndexError) as error:
                subject = f"allowed_signers, line {number}"
                why = str(error).rstrip(".") or "not a key"
                raise BadInput(subject, why, f"write {_LINE}") from None
        return tuple(signers)


@dataclass(frozen=True)
class PolicyInForce:
    """A policy, the sha256 of its file, and the hash of the entry that put it in force."""

    policy: ApprovalPolicy
    sha256: str
    since: str


def read_policy(text: str, name: object) -> ApprovalPolicy:
    """The policy in a file's text, fit to be put in force.

    Raises BadInput naming `name`: not such a file, or fewer keys than it asks approvals of.
    """
    try:
        policy = ApprovalPolicy.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise BadInput(name, f"no YAML ({' '.join(str(error).split())})", "mend it") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its content"
        remedy = "give approvals, automatic and allowed_signers"
        raise BadInput(name, f"{where}: {first['msg']}", remedy) from None
    try:
        signers = policy.signers
    except BadInput as error:
        raise error.within(str(name)) from None
    for namespace in (CHAMPION_NAMESPACE, POLICY_NAMESPACE):
        keys = {signer.key for signer in signers if _matches(namespace, signer.namespaces)}
        if len(keys) < policy.approvals:
            few = f"{len(keys)} keys may sign for {namespace}, and approvals is {policy.approvals}"
            raise BadInput(name, few, "list more signers, or ask for fewer approvals")
    return policy


def policy_in_force(entries: Iterable[Entry]) -> PolicyInForce | None:
    """The policy that the newest of `entries` put in force; None where none did."""
    newest = None
    for entry in entries:
        if entry.event == POLICY_EVENT:
            newest = entry
    if newest is None:
        return None
    text = str(newest.details["policy"])
    return PolicyInForce(read_policy(text, "the approvers"), sha256_text(text), newest.hash)


def sha256_text(text: str) -> str:
    """sha256 (hex) of a file that holds `text`."""
    return hashlib.sha256(text.encode()).hexdigest()


def _signer(principals: str, options: dict[str, Any], kind: str, key: str) -> Signer:
    from sshsig import PublicKey

    if "cert-authority" in options:
        raise ValueError("certificates are not supported")
    return Signer(
        principals,
        options.get("namespaces", "*"),
        _time(options.get("valid-after", "00010101Z")),
        _time(options.get("valid-before", "99991231Z")),
        PublicKey.from_openssh_str(f"{kind} {key}"),
    )


def _time(text: str) -> datetime:
    """A time as OpenSSH writes it, YYYYMMDD[HHMM[SS]]Z; without the Z it would be local time."""
    form = {9: "%Y%m%dZ", 13: "%Y%m%d%H%MZ", 15: "%Y%m%d%H%M%SZ"}.get(len(text))
    if form is None:
        raise ValueError(f"'{text}' is no time as YYYYMMDDZ or YYYYMMDDHHMMZ")
    return datetime.strptime(text, form).replace(tzinfo=UTC)


def _matches(value: str, patterns: str) -> bool:
    """OpenSSH's lists of patterns: commas, `*`, `?`, and `!` for what must not match."""
    hits = {
        pattern.startswith("!")
        for pattern in patterns.split(",")
        if fnmatchcase(value, pattern.removeprefix("!").replace("[", "[[]"))
    }
    return hits == {False}
