"""What one pipeline run hands to publish: folders of the steps, and facts about the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from components.cohort.manifest import DIGESTS_FILE
from components.core.errors import BadInput
from components.core.files import sha256_file, sha256_tree
from components.release.manifest import RELEASE_FILE, ReleaseManifest

FOLDERS = ("validated", "segmenter", "samples", "classifier", "evaluation", "repository")
PREDICTIONS = "predictions"

REQUIRED_FILES = {
    "validated": ("accepted.csv", DIGESTS_FILE, "validation.json"),
    "segmenter": ("model.json",),
    "samples": ("features.csv",),
    "classifier": ("model.json",),
    "evaluation": ("evaluation.json",),
    "repository": (RELEASE_FILE,),
}
"""Without these a folder is not the output of its step."""


class Code(BaseModel):
    """Which code ran: its commit, whether the tree differed from it, a digest of its sources."""

    model_config = ConfigDict(frozen=True)

    commit: str = ""
    dirty: bool | None = None
    sources_sha256: str = ""


class RunInfo(BaseModel):
    """Facts about a run that its artifacts do not hold; every one may be unknown.

    Attributes:
        kfp_run_id: id of the Kubeflow (or local) pipeline run.
        profile: name of the profile.
        settings: the whole profile, as nested plain values.
        images: step -> container image reference, with its digest.
        seeds: what the seeds of the run were.
        durations_s: step -> seconds.
        code: which code ran; found out on this machine when not given.
        lock_sha256: sha256 of the file that pins package versions.
        approve: "name: reason" of a person who overrides the gate; as PublishSettings.approve.
        actor: who or what started the run.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    kfp_run_id: str = ""
    profile: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    images: dict[str, str] = Field(default_factory=dict)
    seeds: dict[str, int] = Field(default_factory=dict)
    durations_s: dict[str, float] = Field(default_factory=dict)
    code: Code = Code()
    approve: str | None = None
    lock_sha256: str = ""
    actor: str = ""


@dataclass(frozen=True)
class RunArtifacts:
    """Paths of what the steps wrote; all but `predictions` (a CSV) are folders."""

    validated: Path
    segmenter: Path
    samples: Path
    classifier: Path
    predictions: Path
    evaluation: Path
    repository: Path
    code_version: str = ""
    info: RunInfo = field(default_factory=RunInfo)

    def check(self) -> None:
        """Raises BadInput naming the first folder or file that is missing."""
        if not self.predictions.is_file():
            raise BadInput(self.predictions, "no such file", "run the classify step first")
        for name in FOLDERS:
            folder: Path = getattr(self, name)
            for file in REQUIRED_FILES[name]:
                if not (folder / file).is_file():
                    raise BadInput(folder / file, "no such file", "run the pipeline to its end")

    def release(self) -> ReleaseManifest:
        """Content of repository/release.json. Raises BadInput when it is not whole."""
        return ReleaseManifest.read(self.repository)

    def digests(self) -> dict[str, str]:
        """'folder/relative path' -> sha256 of every file, and 'predictions.csv'."""
        found = {
            f"{name}/{path}": digest
            for name in FOLDERS
            for path, digest in sha256_tree(getattr(self, name)).items()
        }
        return {**found, "predictions.csv": sha256_file(self.predictions)}
