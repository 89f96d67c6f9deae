"""Walks through what people signed: each approval, by the policy in force at its time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from components.core.errors import BadInput
from components.core.files import sha256_file
from components.registry.approval.policy import (
    POLICY_EVENT,
    PolicyInForce,
    policy_in_force,
    sha256_text,
)
from components.registry.approval.statement import (
    SignedApproval,
    Subject,
    policy_subject,
    promotion_subject,
    verify_approvals,
)
from components.registry.audit.links import AuditCheck, Chain
from components.registry.ledger import Entry
from components.registry.names import RegisteredModel


def approvals(chain: Chain) -> Iterator[AuditCheck]:
    """Each change of the approvers, and each time this release became champion."""
    entries, mine = chain.ledger.entries, chain.entry.versions[RegisteredModel.RELEASE]
    served, force = [""], None
    for index, entry in enumerate(entries):
        before = entries[:index]
        served.append(entry.champions.get(RegisteredModel.RELEASE, ""))
        became = served[-1] == mine != served[-2]
        if entry.event == POLICY_EVENT:
            yield _listed(entry, before, force)
            force = policy_in_force([entry])
        elif entry.event == "promoted" and entry.details["to"].get(RegisteredModel.RELEASE) == mine:
            yield _promoted(entry, before, force, chain.entry)
        elif became and force is not None:
            yield _unsigned(entry, force, entry is chain.entry, mine in served[:-1])
    if chain.approvers is not None:
        found, wanted = force.sha256 if force else "none", sha256_file(chain.approvers)
        what = f"approvals: the approvers in force are those of {chain.approvers}"
        yield AuditCheck(what, found == wanted, wanted, found)


def _unsigned(entry: Entry, force: PolicyInForce, own: bool, back: bool) -> AuditCheck:
    """What may move the champion without a signature: a passed gate, or going back."""
    if entry.event == "rolled_back":
        what = f"approvals: entry {entry.number} went back to it"
        return AuditCheck(what, back, "an earlier champion", "never one" if not back else "one")
    holds = own and entry.details["passed"] and force.policy.automatic
    what = f"approvals: entry {entry.number} needed none, as the gate passed"
    return AuditCheck(what, holds, "a passed gate, if the approvers let it", entry.event)


def _listed(entry: Entry, before: Sequence[Entry], force: PolicyInForce | None) -> AuditCheck:
    said = str(entry.details["sha256"])
    what = f"approvals: entry {entry.number} lists the approvers of {said[:16]}"
    if said != sha256_text(str(entry.details["policy"])):
        return AuditCheck(what, False, said, "a file of another digest")
    if force is None:
        return AuditCheck(f"{what}, the first", True)
    return _verified(what, entry, force, policy_subject(before, said))


def _promoted(
    entry: Entry, before: Sequence[Entry], force: PolicyInForce | None, registration: Entry
) -> AuditCheck:
    what = f"approvals: entry {entry.number} makes {registration.details['release']} champion"
    if force is None:
        name = entry.details["approval"]["name"]
        return AuditCheck(f"{what} by the name of {name}; nobody vouched", True)
    return _verified(what, entry, force, promotion_subject(before, registration))


def _verified(what: str, entry: Entry, force: PolicyInForce, subject: Subject) -> AuditCheck:
    given = [SignedApproval(**content) for content in entry.details.get("approvals", ())]
    expected = f"{force.policy.approvals} signed by approvers of {force.sha256[:16]}"
    try:
        stated = verify_approvals(given, force, subject, datetime.fromisoformat(entry.at))
    except BadInput as error:
        return AuditCheck(what, False, expected, f"{error.subject}: {error.problem}")
    names = ", ".join(f"{s.approver} ({s.reason})" for s in stated)
    return AuditCheck(f"{what}: signed by {names}", True)
