"""Publishing one run: refuse what is unsafe, log the lineage, judge, and commit in one step.

Order matters. Everything large is uploaded first and stays in state `publishing`. Then the versions
are created, the gate judges against the champion of that moment, and one ledger entry commits the
outcome, unless the ledger moved since it was read: then the gate judges again. A process killed
before that entry leaves nothing that can be served; one killed after it is completed by whoever
writes next.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.core.files import read_json, sha256_file, write_json
from components.core.progress import Progress, silent
from components.core.tables import read_csv
from components.registry import names
from components.registry.approval.policy import PolicyInForce, policy_in_force
from components.registry.attestation.openlineage import send_lineage
from components.registry.delivery import deliver
from components.registry.gate.champion import Champion, meet_champion
from components.registry.gate.evidence import evaluated_sets, read_run_predictions
from components.registry.gate.rules import Evidence, apply_gate
from components.registry.gate.verdict import GateVerdict, Published
from components.registry.ledger import Entry, Ledger, LedgerMovedError, read_ledger, tries
from components.registry.ledger_sync import is_finished, project, settle
from components.registry.names import Alias
from components.registry.promote import commit
from components.registry.run_artifacts import FOLDERS, RunArtifacts
from components.registry.settings import PublishSettings
from components.registry.tracking.environment import completed
from components.registry.tracking.lineage import Recorded, record_run
from components.registry.tracking.lock import exclusive
from components.registry.tracking.model_versions import Uploaded, ensure_version, upload_models
from components.registry.tracking.store import TrackingStore, connect, patiently
from components.registry.witness.witness import stamp_head
from components.release.integrity.scan import screen_tree
from components.release.integrity.verification import verify_files

log = logging.getLogger(__name__)


def publish_run(
    artifacts: RunArtifacts, settings: PublishSettings, *, progress: Progress = silent
) -> Published:
    """Log, judge and register one run. Doing it again changes nothing and returns the same.

    Raises:
        BadInput: an artifact is missing, unsafe, or differs from the release's manifest.
        StoreUnreachable: the store did not answer; see `resume.publish_or_keep`.
        Outage: published, but the place to export to is away; doing it again exports.
    """
    progress(0, 4, "checking artifacts")
    artifacts = replace(artifacts, info=completed(artifacts.info))
    publication = check(artifacts, settings)
    progress(1, 4, "logging lineage")
    store = connect(settings)
    done = patiently(lambda: _publish(store, artifacts, settings, publication, progress), settings)
    send_lineage(artifacts)
    stamp_head(store, settings.timestamp)
    if settings.export:
        progress(4, 4, "exporting the champion")
        deliver(store, settings.export, artifacts.repository)
    return done


def check(artifacts: RunArtifacts, settings: PublishSettings) -> str:
    """Refuse what may not be published; returns the publication id, a sha256 over all digests.

    Raises BadInput: see `screen`.
    """
    artifacts.check()
    for name in FOLDERS:
        screen_tree(getattr(artifacts, name), settings.max_file_mb)
    verify_files(artifacts.repository, artifacts.release().files)
    canonical = json.dumps(artifacts.digests(), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _publish(
    store: TrackingStore,
    artifacts: RunArtifacts,
    settings: PublishSettings,
    publication: str,
    report: Progress,
) -> Published:
    if read_ledger(store).publication(publication) is not None:
        with contextlib.suppress(LedgerMovedError), exclusive(store):
            return _published_before(store, publication)
    with tempfile.TemporaryDirectory() as scratch:
        recorded = record_run(store, artifacts, settings, publication, Path(scratch))
        report(2, 4, "uploading models")
        uploaded = upload_models(
            store, artifacts, recorded.experiment_id, recorded.run_id, Path(scratch) / "models"
        )
        report(3, 4, "judging")
        for _ in tries():
            # Asking the champion may take hours: not while others wait.
            champion = meet_champion(
                store,
                read_ledger(store),
                artifacts,
                read_csv(Path(scratch) / names.MANIFEST_FILE),
                Path(tempfile.mkdtemp(dir=scratch)),
                ask=settings.ask_champion,
                progress=lambda done, total, what: report(3, 4, f"{what} ({done} of {total})"),
            )
            with contextlib.suppress(LedgerMovedError), exclusive(store):
                ledger = read_ledger(store)
                if ledger.publication(publication) is not None:
                    return _published_before(store, publication)
                if ledger.champion == (champion.version if champion else ""):
                    published = _commit(
                        _Upload(publication, recorded, uploaded, champion),
                        store,
                        ledger,
                        artifacts,
                        settings,
                        Path(scratch),
                    )
                    break
    report(4, 4, published.promotion or "candidate")
    return published


@dataclass(frozen=True)
class _Upload:
    """What was done before the ledger was read to be written to."""

    publication: str
    recorded: Recorded
    uploaded: list[Uploaded]
    champion: Champion | None


def _versions(upload: _Upload, store: TrackingStore, tags: dict[str, str]) -> dict[str, Any]:
    """Registered model -> its version, made or found, and the digests of its files."""
    models: dict[str, Any] = {}
    for made in upload.uploaded:
        version, digests = ensure_version(store, made, upload.recorded.run_id, tags)
        models[made.model.value] = {
            "version": str(version.version),
            "model_id": version.model_id,
            "source": version.source,
            "files": digests,
        }
    return models


def _commit(
    upload: _Upload,
    store: TrackingStore,
    ledger: Ledger,
    artifacts: RunArtifacts,
    settings: PublishSettings,
    scratch: Path,
) -> Published:
    ledger = settle(store, ledger)
    force = policy_in_force(ledger.entries)
    release, recorded = artifacts.release(), upload.recorded
    tags = {
        names.PUBLICATION: upload.publication,
        names.RELEASE: release.release,
        names.TRAINED_ON: release.trained_on.value,
        names.PLAN: release.plan,
    }
    models = _versions(upload, store, tags)
    gate = _apply_gate(artifacts, settings, upload.champion, scratch)
    evidence = {
        "runs": recorded.digests,
        "metrics": recorded.metrics,
        "params": recorded.params,
        "tags": recorded.tags,
        "models": models,
    }
    documents = [names.DIGESTS_FILE, names.GATE_FILE]
    if upload.champion is not None:
        upload.champion.predictions.to_csv(scratch / names.CHAMPION_FILE, index=False)
        documents.insert(0, names.CHAMPION_FILE)
    write_json(scratch / names.DIGESTS_FILE, evidence)
    write_json(scratch / names.GATE_FILE, gate.content())
    hashes = {name: sha256_file(scratch / name) for name in documents}
    for name, sha256 in hashes.items():
        # By digest: who publishes the same and judged otherwise, but too late, overwrites nothing.
        where = f"{names.CANDIDATES}/{sha256}"
        store.client.log_artifact(recorded.run_id, str(scratch / name), where)
    details = {
        "release": release.release,
        "publication": upload.publication,
        "run_id": recorded.run_id,
        "trained_on": release.trained_on.value,
        "profile": artifacts.info.profile,
        "sha256": hashes,
        "passed": gate.passed,
        "refused_because": "" if gate.passed else gate.summary,
        "approval": gate.content()["approval"],
        "approvers": force.sha256 if force else "",
        "signed_by": recorded.signed_by,
        "export": settings.export,
        "timestamp": settings.timestamp,
    }
    facts = {name: {k: v for k, v in m.items() if k != "files"} for name, m in models.items()}
    ledger = commit(store, ledger, facts, details, _promotion(gate, settings, force))
    entry = ledger.entries[-1]
    project(store, ledger, entry)
    return _outcome(entry, gate)


def _apply_gate(
    artifacts: RunArtifacts, settings: PublishSettings, champion: Champion | None, scratch: Path
) -> GateVerdict:
    evidence = Evidence(
        predictions=read_run_predictions(artifacts.predictions),
        sets=evaluated_sets(artifacts.evaluation),
        validation=read_json(artifacts.validated / "validation.json"),
        manifest=read_csv(scratch / names.MANIFEST_FILE),
        features=read_csv(artifacts.samples / "features.csv"),
        trained_on=artifacts.release().trained_on.value,
        champion=champion,
    )
    return apply_gate(evidence, settings.gate, settings.approve or artifacts.info.approve or "")


def _promotion(gate: GateVerdict, settings: PublishSettings, force: PolicyInForce | None) -> str:
    """What a release becomes; where approvers are listed, a typed name moves no champion."""
    if not gate.promotable:
        return ""
    if force is not None and not gate.passed:
        log.warning("a typed name moves no champion where approvers are listed: it stays candidate")
        return ""
    typed = gate.approval is not None and force is None
    waits = settings.promote == "manual" and not typed
    if force is not None:
        waits = waits or not force.policy.automatic
    return Alias.CHALLENGER.value if waits else Alias.CHAMPION.value


def _published_before(store: TrackingStore, publication: str) -> Published:
    ledger = settle(store, read_ledger(store))
    entry = ledger.publication(publication)
    assert entry is not None
    if not is_finished(store, entry):
        project(store, ledger, entry)
    with tempfile.TemporaryDirectory() as scratch:
        gate = store.client.download_artifacts(entry.details["run_id"], names.GATE_FILE, scratch)
        return _outcome(entry, GateVerdict.model_validate(read_json(gate)))


def _outcome(entry: Entry, gate: GateVerdict) -> Published:
    return Published(
        mlflow_run_id=entry.details["run_id"],
        release=entry.details["release"],
        gate=gate,
        registered=entry.versions,
        promotion=entry.details["promotion"],
    )
