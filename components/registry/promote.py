"""What changes which release is served: committing a publication, promoting, rolling back."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

from components.core.errors import BadInput
from components.core.vocabulary import Origin
from components.registry.approval.policy import policy_in_force
from components.registry.approval.statement import (
    SignedApproval,
    promotion_subject,
    verify_approvals,
)
from components.registry.delivery import follow, registered
from components.registry.gate.verdict import person_and_reason
from components.registry.ledger import (
    Aliases,
    Entry,
    Ledger,
    LedgerMovedError,
    append,
    read_ledger,
    tries,
)
from components.registry.ledger_sync import apply_aliases, settle
from components.registry.names import Alias, RegisteredModel
from components.registry.tracking.environment import actor
from components.registry.tracking.lock import exclusive
from components.registry.tracking.store import TrackingStore, connect_to
from components.registry.witness.witness import stamp_head

P = ParamSpec("P")
T = TypeVar("T")


def again_if_moved(change: Callable[P, T]) -> Callable[P, T]:
    """Decide anew on the newer ledger where another writer appended first."""

    @functools.wraps(change)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in tries():
            with contextlib.suppress(LedgerMovedError):
                return change(*args, **kwargs)
        raise AssertionError("tries() raises in the end")

    return wrapper


@again_if_moved
def rollback(model: str, tracking_uri: str, reason: str = "") -> str:
    """Restore the previous champion; returns its version.

    All three registered models move together, and where champions are exported, so does what is
    served there. The ledger records who did it and why.

    Raises:
        BadInput: there is no earlier champion.
        Outage: the place of export is away; the aliases have moved.
    """
    store = connect_to(tracking_uri)
    with exclusive(store):
        ledger = settle(store, read_ledger(store))
        history = ledger.champions
        if len(history) < 2:
            raise BadInput(
                f"model '{model}'",
                "no earlier champion to go back to",
                "publish another release, or serve one by its version",
            )
        left, back = history[-1], history[-2]
        aliases = _with(ledger.aliases, Alias.CHAMPION, back)
        details = {"from": left, "to": back, "reason": reason}
        ledger = append(store, ledger, "rolled_back", actor(), aliases, details)
        apply_aliases(store, ledger.aliases)
    stamp_head(store)
    follow(store)
    if model not in set(RegisteredModel):
        return back[RegisteredModel.RELEASE.value]
    return back[model]


@again_if_moved
def promote(
    reference: str, tracking_uri: str, approve: str = "", approvals: Sequence[SignedApproval] = ()
) -> str:
    """Make a published release the champion on the word of persons; returns its version.

    Args:
        approve: "name: reason" as somebody typed it, which nobody vouches for.
        approvals: signed by approvers; where a policy is in force, only they count.

    Raises BadInput: no such release, one trained on phantoms, or not approved as it must be.
    """
    typed = person_and_reason(approve)
    if not approvals and typed is None:
        raise BadInput("--approve", f"'{approve}' names no person and reason", "'name: reason'")
    store = connect_to(tracking_uri)
    with exclusive(store):
        ledger = settle(store, read_ledger(store))
        entry = registered(store, ledger, reference)
        if entry.details["trained_on"] != Origin.PATIENTS:
            raise BadInput(
                reference, "trained on phantoms", "train on patients; phantoms never win"
            )
        versions = entry.versions
        aliases = _without(_with(ledger.aliases, Alias.CHAMPION, versions), Alias.CHALLENGER)
        details = {"release": entry.details["release"], "to": versions}
        if approvals:
            details |= _signed(ledger, entry, approvals)
        elif typed is not None:
            details |= _typed(ledger, *typed)
        ledger = append(store, ledger, "promoted", actor(), aliases, details)
        apply_aliases(store, ledger.aliases)
    stamp_head(store)
    follow(store)
    return versions[RegisteredModel.RELEASE.value]


def _typed(ledger: Ledger, name: str, reason: str) -> dict[str, Any]:
    """What the ledger records of a name that somebody typed."""
    if policy_in_force(ledger.entries) is not None:
        raise BadInput(
            "--approve",
            "a typed name moves no champion where approvers are listed",
            "sign it with --key, or give approvals signed by `glioflow approve` as --approval",
        )
    return {"approval": {"name": name, "reason": reason, "vouched": False}}


def _signed(
    ledger: Ledger, registration: Entry, approvals: Sequence[SignedApproval]
) -> dict[str, Any]:
    """What the ledger records of approvals that were signed, once they are verified."""
    force = policy_in_force(ledger.entries)
    if force is None:
        remedy = "list them with `glioflow approvers`"
        raise BadInput("--approval", "no approvers are listed to check it by", remedy)
    subject = promotion_subject(ledger.entries, registration)
    stated = verify_approvals(approvals, force, subject, datetime.now(UTC))
    names, reasons = ([getattr(s, part) for s in stated] for part in ("approver", "reason"))
    return {
        "approval": {"name": ", ".join(names), "reason": "; ".join(reasons), "vouched": True},
        "approvals": [approval.content() for approval in approvals],
        "approvers": force.sha256,
    }


def commit(
    store: TrackingStore,
    ledger: Ledger,
    versions: dict[str, Any],
    details: dict[str, Any],
    promotion: str,
) -> Ledger:
    """Record a publication and its verdict in one ledger entry: from here on it is visible.

    `promotion` is "champion", "challenger" or "" (refused: candidate only). The caller holds the
    lock.
    """
    numbers = {model: facts["version"] for model, facts in versions.items()}
    aliases = _with(ledger.aliases, Alias.CANDIDATE, numbers)
    if promotion == Alias.CHAMPION:
        aliases = _without(_with(aliases, Alias.CHAMPION, numbers), Alias.CHALLENGER)
    elif promotion == Alias.CHALLENGER:
        aliases = _with(aliases, Alias.CHALLENGER, numbers)
    content = {**details, "versions": versions, "promotion": promotion}
    return append(store, ledger, "registered", actor(), aliases, content)


def _with(aliases: Aliases, alias: Alias, versions: dict[str, str]) -> Aliases:
    models = sorted(set(aliases) | set(versions))
    changed = {model: dict(aliases.get(model, {})) for model in models}
    for model, version in versions.items():
        changed[model][alias.value] = version
    return changed


def _without(aliases: Aliases, alias: Alias) -> Aliases:
    return {m: {a: v for a, v in held.items() if a != alias} for m, held in aliases.items()}
