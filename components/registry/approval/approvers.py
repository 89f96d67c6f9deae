"""What people do with approvals: list who may give them, and sign one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from components.core.errors import BadInput
from components.registry.approval.policy import (
    POLICY_EVENT,
    policy_in_force,
    read_policy,
    sha256_text,
)
from components.registry.approval.statement import (
    SignedApproval,
    Subject,
    policy_subject,
    promotion_subject,
    sign_statement,
    state,
    verify_approvals,
)
from components.registry.delivery import registered
from components.registry.gate.verdict import person_and_reason
from components.registry.ledger import Ledger, append, read_ledger
from components.registry.ledger_sync import settle
from components.registry.promote import again_if_moved
from components.registry.tracking.environment import actor
from components.registry.tracking.lock import exclusive
from components.registry.tracking.store import TrackingStore, connect_to
from components.registry.witness.witness import stamp_head


@again_if_moved
def list_approvers(file: Path, tracking_uri: str, approvals: Sequence[SignedApproval] = ()) -> str:
    """Put a policy's file in force by an entry of the ledger; returns its sha256.

    The first one needs no approval; each later one is approved as the one before demands. Putting
    the one that is in force in force again changes nothing.

    Raises BadInput: not such a file, or not approved.
    """
    text = _text(file)
    read_policy(text, file)
    sha256 = sha256_text(text)
    store = connect_to(tracking_uri)
    with exclusive(store):
        ledger = settle(store, read_ledger(store))
        force = policy_in_force(ledger.entries)
        if force is not None and force.sha256 == sha256:
            return sha256
        if force is not None:
            subject = policy_subject(ledger.entries, sha256)
            verify_approvals(approvals, force, subject, datetime.now(UTC))
        details = {
            "policy": text,
            "sha256": sha256,
            "approvals": [approval.content() for approval in approvals],
        }
        append(store, ledger, POLICY_EVENT, actor(), ledger.aliases, details)
    stamp_head(store)
    return sha256


def approve(reference: str, tracking_uri: str, who: str, key: Path) -> SignedApproval:
    """Sign, with an approver's own SSH key, that something may be done now.

    Args:
        reference: the release to become champion, or the file of the next policy.
        who: "name: reason"; the name is a principal of the approvers in force.
        key: private key, or the public one of a key that ssh-agent holds.

    Raises BadInput: nothing to approve there, no approvers, or not one of them.
    """
    said = person_and_reason(who)
    if said is None:
        raise BadInput("approval", f"'{who}' names no person and reason", "'name: reason'")
    store = connect_to(tracking_uri)
    ledger = read_ledger(store)
    force = policy_in_force(ledger.entries)
    if force is None:
        raise BadInput("approvers", "none are listed", "list them with `glioflow approvers`")
    subject = _subject(store, ledger, reference)
    signed = sign_statement(state(*said, subject).text(), subject.namespace, key)
    alone = replace(force, policy=force.policy.model_copy(update={"approvals": 1}))
    verify_approvals([signed], alone, subject, datetime.now(UTC))
    return signed


def _subject(store: TrackingStore, ledger: Ledger, reference: str) -> Subject:
    if Path(reference).is_file():
        text = _text(Path(reference))
        read_policy(text, reference)
        return policy_subject(ledger.entries, sha256_text(text))
    return promotion_subject(ledger.entries, registered(store, ledger, reference))


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(file, f"cannot be read ({error})", "give a file of approvers") from None
