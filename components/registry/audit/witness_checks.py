"""Walks through time-stamps: those that the auditor keeps, and those beside the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from components.core.errors import BadInput
from components.registry.audit.links import AuditCheck, Chain
from components.registry.ledger import Ledger, read_ledger
from components.registry.witness.witness import (
    confirmed,
    contradiction,
    kept_tokens,
    newest,
    witness_files,
    witness_roots,
)


def witnessed(chain: Chain) -> Iterator[AuditCheck]:
    """The ledger is the one that was time-stamped, up to the newest time-stamp."""
    kept = kept_tokens(chain.store)
    # Read after the time-stamps: another process may have added an entry and its time-stamp.
    ledger = read_ledger(chain.store)
    if kept:
        problems = [p for p in (contradiction(name, ledger) for name in kept) if p]
        what = f"witness: {len(kept)} time-stamps beside the ledger are of its entries"
        yield AuditCheck(what, not problems, "the ledger's entries", problems)
    if chain.witness is not None:
        yield _against(chain.witness, ledger)


def _against(folder: Path, ledger: Ledger) -> AuditCheck:
    """Whether the ledger goes on from what the auditor's folder holds."""
    tokens = witness_files(folder)
    what = f"witness: history agrees with {len(tokens)} time-stamps in {folder}"
    try:
        proved = newest(ledger, confirmed(tokens, ledger, witness_roots(folder)))
    except BadInput as error:
        return AuditCheck(what, False, "the ledger that was time-stamped", str(error))
    since = (
        f"entries 1 to {proved.number} of {proved.entries}, as of {proved.at:%Y-%m-%d %H:%M} UTC"
    )
    return AuditCheck(f"{what} ({since})", True)
