"""What an approver signs, how it is signed, and how it is verified.

A statement is JSON; its signature is OpenSSH's (`ssh-keygen -Y sign`), which `ssh-keygen -Y verify`
and git read, too. Each names the entries of the ledger that it is about: the registration that it
approves, and what it replaces. So it holds once, for one release, and for one history.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, ValidationError

from components.core.errors import BadInput
from components.core.files import write_text
from components.core.settings import Document
from components.registry.approval.policy import (
    CHAMPION_NAMESPACE,
    POLICY_NAMESPACE,
    PolicyInForce,
    policy_in_force,
)
from components.registry.ledger import Entry, Ledger
from components.registry.names import Alias, RegisteredModel

SIGNATURE_SUFFIX = ".sig"
"""ssh-keygen writes the signature of FILE to FILE.sig."""

_SKEW = timedelta(minutes=5)
"""How far the clock of an approver may be ahead."""

_DIGESTS = (b"sha256", b"sha512")
"""Digests that ssh-keygen accepts in a signature."""

_AGAIN = "sign again with `glioflow approve`"


@dataclass(frozen=True)
class Subject:
    """What is approved: the namespace of its signatures, and the facts that they are about."""

    namespace: str
    facts: dict[str, str]


class ApprovalStatement(Document):
    """The file that is signed.

    Attributes:
        approver: the principal in the list of allowed signers.
        at: UTC, ISO 8601.
        subject: `facts` of what is approved.
    """

    type: Literal["urn:glioflow:approval:v1"] = "urn:glioflow:approval:v1"
    approver: str
    reason: str
    at: AwareDatetime
    subject: dict[str, str]

    def text(self) -> str:
        """The file's content."""
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"


@dataclass(frozen=True)
class SignedApproval:
    """The text of a statement, and its signature as ssh-keygen writes it."""

    statement: str
    signature: str

    @classmethod
    def read(cls, path: Path) -> SignedApproval:
        """From FILE and FILE.sig. Raises BadInput: either is missing."""
        texts = []
        for file in (path, path.with_name(path.name + SIGNATURE_SUFFIX)):
            try:
                texts.append(file.read_bytes().decode())
            except (OSError, UnicodeDecodeError):
                raise BadInput(file, "cannot be read", "make it with `glioflow approve`") from None
        return cls(*texts)

    def write(self, path: Path) -> None:
        """Inverse of `read`."""
        write_text(path, self.statement)
        write_text(path.with_name(path.name + SIGNATURE_SUFFIX), self.signature)

    def content(self) -> dict[str, str]:
        """As the ledger keeps it."""
        return asdict(self)


def promotion_subject(entries: Sequence[Entry], registration: Entry) -> Subject:
    """Making a registered release the champion, as the ledger stands after `entries`."""
    facts = {
        "model": RegisteredModel.RELEASE.value,
        "version": registration.versions[RegisteredModel.RELEASE],
        "release": str(registration.details["release"]),
        "alias": Alias.CHAMPION.value,
        "registered": registration.hash,
        "replaces": Ledger(tuple(entries)).champion_since,
    }
    return Subject(CHAMPION_NAMESPACE, facts)


def policy_subject(entries: Sequence[Entry], sha256: str) -> Subject:
    """Putting a policy (sha256 of its file) in force, as the ledger stands after `entries`."""
    before = policy_in_force(entries)
    facts = {"approvers": sha256, "replaces": before.since if before else ""}
    return Subject(POLICY_NAMESPACE, facts)


def state(person: str, reason: str, subject: Subject) -> ApprovalStatement:
    """What a person states now."""
    now = datetime.now(UTC).replace(microsecond=0)
    return ApprovalStatement(approver=person, reason=reason, at=now, subject=subject.facts)


def sign_statement(text: str, namespace: str, key: Path) -> SignedApproval:
    """Sign with OpenSSH, which asks for the key's passphrase, or its agent.

    Raises BadInput: no ssh-keygen, or not a key it can sign with.
    """
    program = shutil.which("ssh-keygen")
    if program is None:
        raise BadInput("ssh-keygen", "not installed", "apt-get install openssh-client")
    done = subprocess.run(
        [program, "-q", "-Y", "sign", "-f", str(key), "-n", namespace],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BadInput(key, f"ssh-keygen does not sign with it ({why})", "give a private SSH key")
    return SignedApproval(text, done.stdout)


def verify_approvals(
    approvals: Sequence[SignedApproval], force: PolicyInForce, subject: Subject, at: datetime
) -> tuple[ApprovalStatement, ...]:
    """The statements of enough different people who may approve `subject`, and did, at a time.

    Raises BadInput: one is altered, signed by another, about something else, given twice, or
    there are too few.
    """
    verified = [_verified(approval, force, subject, at) for approval in approvals]
    for kind, values in (
        ("name", [statement.approver for statement, _ in verified]),
        ("key", [key for _, key in verified]),
    ):
        if len(set(values)) < len(values):
            raise BadInput("--approval", f"two approvals by one {kind}", "give one by each person")
    if len(verified) < force.policy.approvals:
        few = f"{len(verified)} of {force.policy.approvals} signed approvals"
        remedy = "each approver signs with `glioflow approve`; give all with --approval"
        raise BadInput("--approval", few, remedy)
    return tuple(statement for statement, _ in verified)


def _verified(
    approval: SignedApproval, force: PolicyInForce, subject: Subject, at: datetime
) -> tuple[ApprovalStatement, Any]:
    """The statement, and the key that signed it."""
    try:
        statement = ApprovalStatement.model_validate_json(approval.statement)
    except ValidationError as error:
        raise BadInput("approval", f"no statement ({error.errors()[0]['msg']})", _AGAIN) from None
    who = f"approval by {statement.approver}"
    key = _signing_key(approval, subject.namespace, who)
    allowed = [signer for signer in force.policy.signers if signer.key == key]
    if not any(s.may(statement.approver, subject.namespace, at) for s in allowed):
        problem = f"key {key.sha256_str()} may not sign as {statement.approver} on {at:%Y-%m-%d}"
        raise BadInput(who, problem, "see the approvers in force")
    for name in sorted({*subject.facts, *statement.subject}):
        said, true = (facts.get(name, "nothing") for facts in (statement.subject, subject.facts))
        if said != true:
            raise BadInput(who, f"is about {name} '{said}', and not '{true}'", _AGAIN)
    if statement.at > at + _SKEW:
        raise BadInput(who, f"given at {statement.at}, which is still to come", "set the clock")
    return statement, key


def _signing_key(approval: SignedApproval, namespace: str, who: str) -> Any:
    """The key that made a signature which holds. Raises BadInput naming `who`."""
    from sshsig import InvalidSignature, check_signature
    from sshsig.sshsig import SshsigSignature

    try:
        digest = SshsigSignature.from_armored(approval.signature).hash_algo
        if digest not in _DIGESTS:
            raise BadInput(who, f"signed over {digest!r}", "sign over sha256 or sha512")
        return check_signature(approval.statement, approval.signature, namespace)
    except (InvalidSignature, ValueError, NotImplementedError, AssertionError) as error:
        # The library asserts that a signature's algorithm is its key's.
        why = str(error) or type(error).__name__
        raise BadInput(who, f"its signature does not hold ({why})", _AGAIN) from None
