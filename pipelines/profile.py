"""Profiles: every setting of a run in one YAML file, checked by one schema."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from components.classify.settings import ClassifySettings
from components.cohort.image_checks.checks import ImageLimits
from components.cohort.phantom.settings import PhantomSettings
from components.core.errors import BadInput
from components.core.settings import Settings
from components.evaluate.settings import EvaluateSettings
from components.features.settings import FeatureSettings
from components.preprocess.settings import PreprocessSettings
from components.registry.settings import PublishSettings
from components.release.settings import ServingSettings
from components.segment.settings import SegmentSettings
from components.validate.settings import ValidateSettings
from pipelines.kubeflow.environment import PREFIXES

FOLDER = Path(__file__).parent / "profiles"


class Resources(Settings):
    """What one step asks of a cluster node, in Kubernetes quantities; ignored on one machine."""

    cpu: str = "2"
    memory: str = "8G"
    gpus: int = 0
    retries: int = 2


class Cluster(Settings):
    """Where the steps run on Kubeflow.

    Attributes:
        shards: parts into which reading images and preprocessing are cut, each a pod of its own.
        gpu_resource: name of the GPU resource of the node pool.
        gpu_node_label: label (key, value) that GPU nodes carry.
        gpu_taint: taint key that GPU nodes carry.
        secret: Kubernetes secret whose keys become the steps' environment (object store,
            MLflow), see `pipelines.kubeflow.environment`; None where the pods need none.
        secret_keys: further keys of that secret, beside those every cluster's steps read.
        ca: Kubernetes config map whose key ca.crt holds the certificates that the steps trust;
            None: those of the image.
        service_account: Kubernetes account of the steps' pods; None: that which KFP gives them.
        checkpoints: persistent volume claim on which training keeps its checkpoints, so that a pod
            that is moved goes on where it was.
        shared_memory: size of /dev/shm of steps with a GPU, for the loader's processes.
        api: the KFP API as pods reach it, which the exit handler asks for the failed steps; empty
            where they may not.
        steps: resources by step name; `default` for those not named.
    """

    shards: int = Field(2, ge=1, le=256)
    gpu_resource: str = "nvidia.com/gpu"
    gpu_node_label: tuple[str, str] | None = None
    gpu_taint: str | None = "nvidia.com/gpu"
    secret: str | None = None
    secret_keys: tuple[str, ...] = ()
    ca: str | None = None
    service_account: str | None = None
    checkpoints: str | None = None
    shared_memory: str = "8Gi"
    api: str = "http://ml-pipeline.kubeflow:8888"
    steps: dict[str, Resources] = Field(default_factory=dict)

    @field_validator("secret_keys")
    @classmethod
    def _settings_of_ours(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for key in keys:
            if not key.startswith(PREFIXES):
                raise ValueError(f"'{key}' begins with none of {', '.join(PREFIXES)}")
        return keys

    def of(self, step: str) -> Resources:
        """Resources of one step."""
        return self.steps.get(step) or self.steps.get("default") or Resources()


class Profile(Settings):
    """All settings of a run, one section per package."""

    name: str
    description: str
    cohort: PhantomSettings = PhantomSettings()
    validation: ValidateSettings = ValidateSettings()
    preprocess: PreprocessSettings = Field(PreprocessSettings(), validate_default=True)
    segment: SegmentSettings = SegmentSettings()
    features: FeatureSettings = FeatureSettings()
    classify: ClassifySettings = ClassifySettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    publish: PublishSettings = PublishSettings()
    serving: ServingSettings = ServingSettings()
    cluster: Cluster = Cluster()

    @property
    def admission(self) -> ValidateSettings:
        """`validation`, asking for as many development patients as the classifier needs.

        What would be refused after hours of preparing and segmenting is refused by the first step.
        """
        folds, splits = self.validation.folds, self.validation.splits
        share = 1.0 - 1.0 / folds if folds > 1 else splits[0] / sum(splits)
        least = max(self.validation.min_development, math.ceil(self.classify.min_patients / share))
        return self.validation.model_copy(update={"min_development": least})

    @field_validator("preprocess")
    @classmethod
    def _same_limits(cls, given: PreprocessSettings, info: ValidationInfo) -> PreprocessSettings:
        """What `validation` demands of images, preprocessing and prediction demand too."""
        checked = info.data.get("validation", ValidateSettings())
        limits = ImageLimits(**{name: getattr(checked, name) for name in ImageLimits.model_fields})
        if given.images not in (ImageLimits(), limits):
            raise ValueError("limits of images are set in the section validation")
        return given.model_copy(update={"images": limits})

    @model_validator(mode="before")
    @classmethod
    def _sequences_are_named_once(cls, data: Any) -> Any:
        """Patients must have the sequences that are prepared; `validation` need not name them."""
        sections = data if isinstance(data, dict) else {}
        prepared, validation = sections.get("preprocess"), sections.get("validation") or {}
        if isinstance(prepared, dict) and isinstance(validation, dict) and "sequences" in prepared:
            validation = {"sequences": prepared["sequences"], **validation}
            return {**sections, "validation": validation}
        return data

    @model_validator(mode="after")
    def _sequences_agree(self) -> Profile:
        """Packages do not know each other; the sequences they name are compared here."""
        prepared = self.preprocess.sequences
        if self.validation.sequences != prepared:
            raise ValueError("validation.sequences and preprocess.sequences must be the same")
        for name, used in (
            ("segment.inputs", self.segment.inputs),
            ("features.channels", self.features.channels),
        ):
            if not set(used) <= set(prepared):
                raise ValueError(f"{name} names a sequence that preprocess.sequences lacks")
        return self


def profile_names() -> list[str]:
    """Names of the profiles that come with glioflow."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """Load a profile by name, or from a path ending in .yaml.

    Raises BadInput: no such profile, not YAML, or a key that the schema does not know.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(profile_names())
        raise BadInput(
            f"profile '{name}'", "no such profile", f"use {known}, or a path to a YAML file"
        )
    try:
        content = yaml.safe_load(path.read_text())
        return Profile.model_validate({"name": path.stem, **content})
    except yaml.YAMLError as error:
        raise BadInput(path, f"not YAML ({error})".replace("\n", " "), "mend the file") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        where = f"{path}, key {key}" if key else str(path)
        raise BadInput(where, first["msg"], "see docs/profiles.md for the keys") from None
