"""The model registry: what a version holds, how one is written, found and fetched."""

from __future__ import annotations

import random
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import BadInput
from components.core.files import atomic, cache_folder, link_or_copy, link_tree, sha256_tree
from components.core.tables import read_csv
from components.core.vocabulary import FEATURE_NAMES, Sequence
from components.registry import names
from components.registry.names import Alias, RegisteredModel
from components.registry.run_artifacts import RunArtifacts
from components.registry.tracking.step_records import find_plan
from components.registry.tracking.store import TrackingStore, connect_to
from components.release.integrity.verification import verify_files
from components.release.manifest import RELEASE_FILE, ReleaseManifest

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

MLFLOW_NOTE = "MLmodel"
"""MLflow's description of a model: holds its id and the time it was made."""

_CODE = Path(__file__).with_name("stored_model.py")
_PARTS = {
    RegisteredModel.SEGMENTER: ("segmenter", ("segmenter",)),
    RegisteredModel.HYBRID: ("hybrid", ("classifier",)),
    RegisteredModel.RELEASE: ("release", ("segmenter", "classifier", "repository")),
}
_REFERENCE = re.compile(r"(?P<model>[A-Za-z][\w.-]*?)?(?:(?P<sep>[@/])(?P<which>[\w.-]+))?")


@dataclass(frozen=True)
class Uploaded:
    """Files of one model in the store, not yet a version. `digests`: relative path -> sha256."""

    model: RegisteredModel
    model_id: str
    digests: dict[str, str]

    @property
    def source(self) -> str:
        """Where a version made of it points to."""
        return f"models:/{self.model_id}"


def upload_models(
    store: TrackingStore, artifacts: RunArtifacts, experiment_id: str, run_id: str, scratch: Path
) -> list[Uploaded]:
    """Put the files of the three models into the store; no version shows them yet."""
    from mlflow.entities import LoggedModelOutput

    uploaded = []
    for model in RegisteredModel:
        tags = {names.RELEASE: artifacts.release().release}
        logged = store.client.create_logged_model(
            experiment_id, name=model.value, source_run_id=run_id, tags=tags
        )
        folder = _stage_model(model, artifacts, logged.model_id, run_id, scratch / model.value)
        store.client.log_model_artifacts(logged.model_id, str(folder))
        store.client.finalize_logged_model(logged.model_id, "READY")
        store.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        uploaded.append(Uploaded(model, logged.model_id, sha256_tree(folder)))
    return uploaded


def ensure_version(
    store: TrackingStore, made: Uploaded, run_id: str, tags: dict[str, str]
) -> tuple[ModelVersion, dict[str, str]]:
    """The version of a publication, the one there is or a new one, and its files' digests.

    Raises RuntimeError: a version of this publication holds other files.
    """
    ensure_model(store, made.model)
    publication = tags[names.PUBLICATION]
    for version in store.client.search_model_versions(f"name = '{made.model.value}'"):
        if version.tags.get(names.PUBLICATION) == publication:
            return version, _uploaded_before(store, version, made)
    return _create_version(store, made, run_id, tags), made.digests


def _create_version(
    store: TrackingStore, made: Uploaded, run_id: str, tags: dict[str, str]
) -> ModelVersion:
    """A new version; MLflow itself gives up after three numbers that others took first."""
    from mlflow.exceptions import MlflowException

    while True:
        try:
            return store.client.create_model_version(
                made.model.value,
                source=made.source,
                run_id=run_id,
                model_id=made.model_id,
                tags={**tags, names.STATE: names.PUBLISHING},
            )
        except MlflowException as error:
            if "Giving up after" not in str(error):
                raise
            time.sleep(random.uniform(0.1, 1.0))  # noqa: S311


def _uploaded_before(store: TrackingStore, version: ModelVersion, made: Uploaded) -> dict[str, str]:
    """Digests of what an interrupted try uploaded: as now, but for MLflow's note of its time."""
    if version.model_id == made.model_id:
        return made.digests
    with tempfile.TemporaryDirectory() as scratch:
        found = sha256_tree(download_model(store, version, Path(scratch)))
    differ = {name for name, _ in found.items() ^ made.digests.items()} - {MLFLOW_NOTE}
    if differ:
        raise RuntimeError(
            f"{version.name}/{version.version} was begun with other files: {', '.join(differ)}"
        )
    return found


def ensure_model(store: TrackingStore, model: RegisteredModel) -> None:
    """Create the registered model where it is missing."""
    from mlflow.exceptions import MlflowException

    description = {
        RegisteredModel.SEGMENTER: "Segmenter: whole-tumour segmentation from MRI.",
        RegisteredModel.HYBRID: "Classifier: P(IDH mutant) from slices, shape, loci and age.",
        RegisteredModel.RELEASE: "A segmenter and a hybrid classifier as served together.",
    }[model]
    try:
        store.client.create_registered_model(model.value, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def resolve(store: TrackingStore, reference: str) -> ModelVersion:
    """The version that MODEL, MODEL@ALIAS, MODEL/VERSION, ALIAS or VERSION means.

    A bare MODEL means its champion, or its candidate while it has no champion.

    Raises BadInput: no such model, alias or version, or one whose publishing was not completed.
    """
    from mlflow.exceptions import MlflowException

    model, which = _split(reference)
    try:
        if which is None:
            aliases = store.client.get_registered_model(model).aliases
            which = next((a.value for a in (Alias.CHAMPION, Alias.CANDIDATE) if a in aliases), "")
        found = (
            store.client.get_model_version(model, which)
            if which.isdigit()
            else store.client.get_model_version_by_alias(model, which)
        )
    except MlflowException as error:
        raise BadInput(
            f"model '{reference}'",
            f"not in the registry ({error.error_code})",
            "give MODEL, MODEL@ALIAS or MODEL/VERSION of a published release",
        ) from None
    if found.tags.get(names.STATE) != names.COMPLETE:
        raise BadInput(
            f"model '{reference}'",
            f"version {found.version} was never published to the end",
            "run the publish step again, or name another version",
        )
    return found


def _split(reference: str) -> tuple[str, str | None]:
    if reference.isdigit() or reference in set(Alias):
        return RegisteredModel.RELEASE.value, reference
    match = _REFERENCE.fullmatch(reference)
    if not match or match["model"] not in set(RegisteredModel):
        known = ", ".join(RegisteredModel)
        raise BadInput(f"model '{reference}'", "no such model", f"give one of {known}")
    return match["model"], match["which"]


def download_model(store: TrackingStore, version: ModelVersion, out: Path) -> Path:
    """Download every file of a version into `out`; returns its folder."""
    import mlflow

    source = f"models:/{version.name}/{version.version}"
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=str(out)))
    # MLflow writes this note beside what it downloads.
    (folder / "registered_model_meta").unlink(missing_ok=True)
    return folder


def fetch_repository(reference: str, tracking_uri: str, out: Path | None = None) -> Path:
    """Fetch the Triton repository of a release and return its folder, checked file by file.

    `out` is replaced whole or not at all; without it the repository is kept in the cache folder,
    under its release id.

    Raises BadInput: no such release, or its files differ from its release.json.
    """
    store = connect_to(tracking_uri)
    version = resolve(store, reference)
    target = out or cache_folder() / "releases" / version.tags[names.RELEASE]
    with tempfile.TemporaryDirectory() as scratch:
        folder = download_model(store, version, Path(scratch)) / "artifacts" / "files"
        repository = folder / "repository"
        verify_files(repository, ReleaseManifest.read(repository).files)
        if (repository / RELEASE_FILE).read_bytes() != _bytes(target / RELEASE_FILE):
            with atomic(target) as temporary:
                import shutil

                shutil.copytree(repository, temporary)
    return target


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _stage_model(
    model: RegisteredModel, artifacts: RunArtifacts, model_id: str, run_id: str, out: Path
) -> Path:
    import mlflow.pyfunc
    from mlflow.models import Model

    part, folders = _PARTS[model]
    release = artifacts.release()
    files = out / "files"
    for name in folders:
        link_tree(getattr(artifacts, name), files / name)
    if plan := find_plan(artifacts):
        link_or_copy(plan, files / "plan.json")
    card = artifacts.evaluation / "model_card.md"
    if card.is_file():
        link_or_copy(card, files / "model_card.md")
    example, signature = _interface(model, artifacts)
    mlflow.pyfunc.save_model(
        out / "model",
        python_model=str(_CODE),
        artifacts={"files": str(files)},
        model_config={
            "part": part,
            "release": release.release,
            "trained_on": release.trained_on.value,
        },
        signature=signature,
        input_example=example,
        pip_requirements=["glioflow"],
        mlflow_model=Model(model_id=model_id, run_id=run_id),
        metadata={"plan": release.plan, "trained_on": release.trained_on.value},
    )
    return out / "model"


def _interface(model: RegisteredModel, artifacts: RunArtifacts) -> tuple[Any, ModelSignature]:
    """Input example (one row) and signature."""
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    def schema(optional: tuple[str, ...] = (), **columns: DataType) -> Schema:
        return Schema([ColSpec(kind, name, name not in optional) for name, kind in columns.items()])

    text, number = DataType.string, DataType.double
    if model is RegisteredModel.HYBRID:
        row = read_csv(artifacts.samples / "features.csv")[0]
        example = {"images": f"images/{row['patient_id']}.npy"}
        inputs = schema((), images=text, **dict.fromkeys(FEATURE_NAMES, number))
        outputs = schema(probability_idh_mutant=number, uncertainty=number, ood=number)
        features = {name: float(row.get(name) or "nan") for name in FEATURE_NAMES}
        return pd.DataFrame([{**example, **features}]), ModelSignature(inputs, outputs)
    inputs = schema(
        (Sequence.T2.value, "site"), patient_id=text, site=text, t1c=text, t2=text, flair=text,
        age=number,
    )  # fmt: skip
    outputs = schema(patient_id=text, tumor_volume_ml=number, trained_on=text)
    if model is RegisteredModel.RELEASE:
        outputs = schema(
            patient_id=text, status=text, probability_idh_mutant=number, tumor_volume_ml=number,
            release=text, trained_on=text, warnings=text,
        )  # fmt: skip
    images = {s.value: f"P001_{s.value}.nii.gz" for s in Sequence}
    row = {"patient_id": "P001", "site": "hospital", **images}
    return pd.DataFrame([{**row, "age": 52.0}]), ModelSignature(inputs, outputs)
