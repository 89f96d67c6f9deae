"""What an auditor reads in MLflow: one parent run a pipeline run, and a child run a step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.files import link_or_copy, sha256_file, write_json
from components.core.tables import write_csv
from components.core.vocabulary import Model
from components.registry import names
from components.registry.attestation.documents import release_evidence
from components.registry.gate.evidence import (
    evaluated_sets,
    headline,
    public_manifest,
    read_run_predictions,
)
from components.registry.run_artifacts import RunArtifacts
from components.registry.settings import PublishSettings
from components.registry.tracking.datasets import log_datasets
from components.registry.tracking.environment import hardware, packages
from components.registry.tracking.step_records import (
    PARENT,
    StepRecord,
    flat_numbers,
    flat_text,
    step_records,
)
from components.registry.tracking.store import TrackingStore, ensure_experiment, first_run
from components.release.integrity.keys import signing_key
from components.release.manifest import RELEASE_FILE

if TYPE_CHECKING:
    from mlflow.entities import Run

    from components.release.integrity.keys import SigningKey

_BATCH = 500
_RELEASE_PARAMS = ("release", "profile", "trained_on", "plan")
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Without this, MLflow's pages take the runs for evaluations of language models."""


@dataclass(frozen=True)
class Recorded:
    """A parent run as logged.

    Attributes:
        run_id: of the parent run.
        experiment_id: its experiment.
        digests: step ("pipeline" for the parent) -> artifact path -> sha256.
        metrics: step -> metric -> final value; what audit expects to find.
        params: step -> parameter -> text, likewise.
        tags: of the parent run, likewise.
        signed_by: fingerprint of the key that signed the release; empty where none did.
    """

    run_id: str
    experiment_id: str
    digests: dict[str, dict[str, str]]
    metrics: dict[str, dict[str, float]]
    params: dict[str, dict[str, str]]
    tags: dict[str, str]
    signed_by: str


def find_parent(store: TrackingStore, settings: PublishSettings, publication: str) -> Run | None:
    """The parent run of a publication, complete or not."""
    tags = {names.PUBLICATION: publication, names.STEP: PARENT}
    return first_run(store, settings.experiment, **tags)


def record_run(
    store: TrackingStore,
    artifacts: RunArtifacts,
    settings: PublishSettings,
    publication: str,
    scratch: Path,
) -> Recorded:
    """Log everything about a run; logging the same publication again completes what is missing.

    The parent stays in state `publishing` until the registry has its release.
    """
    experiment_id = experiment_of(store, settings)
    parent = find_parent(store, settings, publication)
    tags = _tags(artifacts, publication)
    if parent is None:
        name = artifacts.release().release
        parent = store.client.create_run(experiment_id, run_name=name, tags=tags)
    run_id = parent.info.run_id
    _retag(store, parent, tags)
    digests, metrics, params = {}, {}, {}
    key = signing_key()
    for record in [
        _parent_record(artifacts, settings, key, scratch),
        *step_records(artifacts),
    ]:
        own = run_id
        if record.name != PARENT:
            own = _child(store, experiment_id, run_id, record.name, tags)
        params[record.name] = _log(store, own, record, scratch)
        if record.name != PARENT:
            store.client.set_terminated(own)
        digests[record.name] = {name: sha256_file(path) for name, path in record.files.items()}
        metrics[record.name] = record.metrics
    log_datasets(store, run_id, artifacts.validated / "accepted.csv")
    signed_by = key.fingerprint if key else ""
    return Recorded(run_id, experiment_id, digests, metrics, params, tags, signed_by)


def experiment_of(store: TrackingStore, settings: PublishSettings) -> str:
    """Id of the experiment, created where it is missing."""
    location = store.artifact_root or None
    if location is None and store.folder is not None:
        location = (store.folder / "artifacts").as_uri()
    return ensure_experiment(store, settings.experiment, location, _EXPERIMENT_TAGS)


def children(store: TrackingStore, experiment_id: str, run_id: str) -> dict[str, Run]:
    """Step -> child run of a parent run."""
    found = store.client.search_runs(
        [experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'", max_results=100
    )
    return {run.data.tags.get(names.STEP, ""): run for run in found}


def _child(
    store: TrackingStore, experiment_id: str, parent: str, step: str, tags: dict[str, str]
) -> str:
    own = {**tags, "mlflow.parentRunId": parent, names.STEP: step}
    existing = children(store, experiment_id, parent).get(step)
    if existing is None:
        return store.client.create_run(experiment_id, run_name=step, tags=own).info.run_id
    _retag(store, existing, own)
    return existing.info.run_id


def _retag(store: TrackingStore, run: Run, tags: dict[str, str]) -> None:
    """An earlier attempt may have run on other code: what completes a run is what it names."""
    for key, value in tags.items():
        if run.data.tags.get(key) != value:
            store.client.set_tag(run.info.run_id, key, value)


def _tags(artifacts: RunArtifacts, publication: str) -> dict[str, str]:
    info, release = artifacts.info, artifacts.release()
    tags = {
        names.STEP: PARENT,
        names.PUBLICATION: publication,
        names.RELEASE: release.release,
        names.TRAINED_ON: release.trained_on.value,
        names.PLAN: release.plan,
        "profile": info.profile or release.profile,
        "kfp_run_id": info.kfp_run_id,
        "code_version": artifacts.code_version,
        "git_dirty": {True: "yes", False: "no", None: ""}[info.code.dirty],
        "lock_sha256": info.lock_sha256,
        "mlflow.source.git.commit": info.code.commit,
        "mlflow.source.name": "glioflow",
        "mlflow.source.type": "PROJECT",
        "mlflow.user": info.actor,
    }
    return {key: value for key, value in tags.items() if value}


def _parent_record(
    artifacts: RunArtifacts, settings: PublishSettings, key: SigningKey | None, scratch: Path
) -> StepRecord:
    info, release = artifacts.info, artifacts.release()
    digests, sets = artifacts.digests(), evaluated_sets(artifacts.evaluation)
    documents = {
        "environment.json": {
            "packages": packages(),
            "hardware": hardware(),
            "images": info.images,
            "code": info.code.model_dump(),
            "code_version": artifacts.code_version,
            "lock_sha256": info.lock_sha256,
        },
        "run_info.json": info.model_dump(mode="json"),
        names.INPUTS_FILE: digests,
        names.METRICS_FILE: headline(read_run_predictions(artifacts.predictions)),
    }
    files = {"predictions.csv": artifacts.predictions}
    for name, content in documents.items():
        write_json(scratch / name, content)
        files[name] = scratch / name
    rows = public_manifest(artifacts.validated / "accepted.csv")
    write_csv(scratch / names.MANIFEST_FILE, list(rows[0]) if rows else [], rows)
    files[names.MANIFEST_FILE] = scratch / names.MANIFEST_FILE
    files[RELEASE_FILE] = artifacts.repository / RELEASE_FILE
    manifest = files[names.MANIFEST_FILE], rows
    files |= release_evidence(
        artifacts, digests, manifest, headlines(sets), settings.licences, key, scratch
    )
    return StepRecord(
        PARENT,
        params={
            **flat_text({k: getattr(release, k) for k in _RELEASE_PARAMS}),
            **flat_text(info.seeds, "seed"),
            **flat_text(info.images, "image"),
            **flat_text(hardware(), "hardware"),
            **flat_text(info.settings, "settings"),
        },
        metrics={
            **flat_numbers(headlines(sets)),
            **flat_numbers(info.durations_s, "seconds"),
        },
        files=files,
    )


def headlines(sets: dict[str, Any]) -> dict[str, Any]:
    """What the parent run shows of each test set; its `evaluate` child has all there is."""
    wanted = ("patients", "dice")
    shown: dict[str, Any] = {}
    for name, block in sets.items():
        shown[name] = {key: block[key] for key in wanted if key in block}
        for model in (m.value for m in Model if m.value in block):
            scores = {key: block[model].get(key) for key in ("accuracy", "auroc", "auprc")}
            shown[name][model] = {key: value for key, value in scores.items() if value is not None}
    return shown


def _log(store: TrackingStore, run_id: str, record: StepRecord, scratch: Path) -> dict[str, str]:
    """Log one record; returns all parameters of the run, with those of an earlier attempt."""
    from mlflow.entities import Metric, Param

    run = store.client.get_run(run_id)
    # With the run's own time, points logged again are the same rows, which MLflow keeps once.
    at = run.info.start_time
    metrics = [Metric(key, value, at, 0) for key, value in record.metrics.items()]
    metrics += [Metric(key, value, at, step) for key, value, step in record.series]
    params = [Param(k, v) for k, v in record.params.items() if k not in run.data.params]
    for batch in _batches(params, 100):
        store.client.log_batch(run_id, params=batch)
    for batch in _batches(metrics, _BATCH):
        store.client.log_batch(run_id, metrics=batch)
    staged = stage(record.files, scratch / "stage" / record.name)
    if record.files:
        store.client.log_artifacts(run_id, str(staged))
    return {**record.params, **run.data.params}


def stage(files: dict[str, Path], folder: Path) -> Path:
    """A folder that holds `files` under their artifact paths, linked where the disk allows it."""
    for name, path in files.items():
        link_or_copy(path, folder / name)
    return folder


def _batches(items: list[Any], size: int) -> Iterable[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
