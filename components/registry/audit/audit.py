"""Proof of a model's chain: every digest recomputed, every figure recalculated, every link walked.

What is trusted: the hashes in the ledger, which hang together. Everything else, tags, aliases,
metrics, artifacts, versions, is compared with what they say.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.errors import BadInput, Outage
from components.core.files import read_json
from components.registry import names
from components.registry.audit import approval_checks as walk_approvals
from components.registry.audit import local_checks as walk_here
from components.registry.audit import registry_checks as walk_registry
from components.registry.audit import run_checks as walk_run
from components.registry.audit import signature_checks as walk_signatures
from components.registry.audit import witness_checks as walk_witness
from components.registry.audit.links import AuditCheck, AuditReport, Chain, Link
from components.registry.ledger import Entry, Ledger, read_ledger
from components.registry.names import RegisteredModel
from components.registry.tracking.model_versions import resolve
from components.registry.tracking.store import (
    StoreUnreachable,
    TrackingStore,
    connect_to,
    is_outage,
)
from components.registry.witness.witness import witness_files, witness_roots
from components.release.integrity.keys import trusted_key
from components.release.manifest import RELEASE_FILE
from components.release.store import RELEASE_ID

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_WALKS: tuple[tuple[Link, Callable[[Chain], Iterator[AuditCheck]]], ...] = (
    (Link.RUN, walk_run.records),
    (Link.WITNESS, walk_witness.witnessed),
    (Link.REGISTRY, walk_registry.versions),
    (Link.MODEL, walk_registry.files),
    (Link.CODE, walk_run.code),
    (Link.DATA, walk_run.data),
    (Link.FIGURES, walk_run.figures),
    (Link.GATE, walk_run.verdict),
    (Link.CHAMPION, walk_registry.promotion),
    (Link.APPROVALS, walk_approvals.approvals),
    (Link.RELEASE, walk_signatures.signature),
    (Link.ATTESTATIONS, walk_signatures.attestations),
    (Link.EXPORT, walk_registry.served),
    (Link.HERE, walk_here.here),
)
"""The run comes first: the others read what its walk downloads."""


def audit(
    reference: str,
    tracking_uri: str,
    *,
    local: Path | None = None,
    key: str = "",
    approvers: Path | None = None,
    witness: Path | None = None,
) -> AuditReport:
    """Walk the chain behind MODEL[@ALIAS|/VERSION], or behind a served prediction.json.

    Args:
        reference: a model as `registry.resolve` takes it, or the path of a prediction.json.
        tracking_uri: the MLflow store.
        local: the run's output folder, or an exported Triton repository, on this machine, to be
            checked as well; by default the folder around a SQLite store, where it is this run's.
        key: public key or root certificate (PEM or its path) behind the release's signature; by
            default that of GLIOFLOW_TRUSTED_KEY; with neither, unsigned releases pass.
        approvers: file of the approvers that must be in force; by default, those of the ledger.
        witness: folder of time-stamps, as `glioflow witness` keeps it, that the ledger must agree
            with; by default the ledger is believed.

    Raises:
        BadInput: the reference names no published model, `key` no key, `local` no folder of either
            kind, `approvers` no file, or `witness` no folder of time-stamps.
        StoreUnreachable: the store went away on the way.
    """
    trusted = trusted_key(key)
    if local and not any((local / f / RELEASE_FILE).is_file() for f in ("", "repository")):
        raise BadInput(local, "no run's folder and no repository", "give what `run` wrote to --out")
    if approvers and not approvers.is_file():
        raise BadInput(approvers, "no such file", "give the file that lists the approvers")
    if witness and not (witness_roots(witness) and witness_files(witness)):
        raise BadInput(witness, "holds no time-stamps", "make them with `glioflow witness`")
    store = connect_to(tracking_uri)
    ledger = read_ledger(store)
    version, said = _version_of(store, reference)
    entry = ledger.registration(version.name, str(version.version))
    links = {Link.PREDICTION: said, Link.LEDGER: _ledger(ledger, version, entry)}
    if entry is not None:
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            chain = Chain(store, ledger, entry, version, place, trusted, local, approvers, witness)
            links.update({link: _walked(link, walk, chain) for link, walk in _WALKS})
    return AuditReport(reference, {link: links[link] for link in Link if links.get(link)})


def _walked(
    link: Link, walk: Callable[[Chain], Iterator[AuditCheck]], chain: Chain
) -> tuple[AuditCheck, ...]:
    """Checks of one link. What is so broken that it cannot be read is a broken link."""
    from mlflow.exceptions import MlflowException

    checks: list[AuditCheck] = []
    try:
        checks.extend(walk(chain))
    except Outage:
        raise
    except (MlflowException, BadInput, OSError, ValueError, LookupError, TypeError) as error:
        if is_outage(error):
            raise StoreUnreachable.of(chain.store.uri, error) from error
        why = f"{type(error).__name__}: {error}"
        checks.append(AuditCheck(f"{link}: can be read", False, "all of it", why))
    return tuple(checks)


def _ledger(ledger: Ledger, version: ModelVersion, entry: Entry | None) -> tuple[AuditCheck, ...]:
    said = version.tags.get(names.LEDGER_ENTRY)
    return (
        AuditCheck(
            f"ledger: every entry follows the one before ({len(ledger.entries)} entries)",
            not ledger.broken,
            "an unbroken chain",
            ledger.broken or ledger.head,
        ),
        AuditCheck(
            "ledger: one entry for each number",
            not ledger.unresolved,
            "no other files, or such as `glioflow repair` recorded",
            ", ".join(ledger.unresolved) or "none",
        ),
        AuditCheck(
            f"{version.name}/{version.version}: its registration is in the ledger"
            + (f" ({entry.at[:10]}, by {entry.actor})" if entry else ""),
            entry is not None and said == entry.hash,
            said or "a ledger entry",
            entry.hash if entry else "none",
        ),
    )


def _version_of(
    store: TrackingStore, reference: str
) -> tuple[ModelVersion, tuple[AuditCheck, ...]]:
    if not reference.endswith(".json"):
        return resolve(store, reference), ()
    path = Path(reference)
    if not path.is_file():
        raise BadInput(path, "no such prediction", "give the prediction.json of `glioflow predict`")
    try:
        prediction = read_json(path)
        release = prediction["release"]
    except (ValueError, LookupError, TypeError):
        raise BadInput(path, "names no release", "give what `glioflow predict` wrote") from None
    if not RELEASE_ID.fullmatch(str(release)):
        raise BadInput(path, f"{release!r} is no release id", "give what `glioflow predict` wrote")
    found = store.client.search_model_versions(
        f"name = '{RegisteredModel.RELEASE.value}' AND tags.`{names.RELEASE}` = '{release}' "
        f"AND tags.`{names.STATE}` = '{names.COMPLETE}'"
    )
    if not found:
        raise BadInput(path, f"release '{release}' was never published here", "check tracking_uri")
    version = min(found, key=lambda v: int(v.version))
    said, true = prediction.get("trained_on"), version.tags.get(names.TRAINED_ON)
    what = f"prediction: made by {release}, and says what that was trained on"
    return version, (AuditCheck(what, said == true, true, said),)
