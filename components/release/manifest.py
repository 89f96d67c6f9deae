"""What a release holds and expects, in one file that its models and its clients read."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict, Field

from components.classify.inference.abstention import AbstentionLimits
from components.classify.inference.conformal import ConformalCalibration
from components.core.errors import BadInput
from components.core.files import write_json
from components.core.settings import Document, Settings
from components.core.vocabulary import Origin, Sequence
from components.preprocess.plan import PreprocessingPlan
from components.release.settings import ServingSettings
from components.release.tensors import Interface

CONTENTS_FILE = "contents.json"
RELEASE_FILE = "release.json"
_REMEDY = "export the release again"


class ReleaseManifest(Document):
    """Content of release.json.

    Attributes:
        release: id; see `components.release.release.release_id`.
        profile, trained_on: see Contents.
        plan: sha256 (hex) of the preprocessing plan.
        settings: how it is laid out for Triton.
        parity: largest difference between exported and trained networks, by network.
        files: relative path -> sha256 (hex) of every file but release.json.
    """

    model_config = ConfigDict(extra="ignore")

    release: str
    profile: str
    trained_on: Origin
    plan: str
    settings: ServingSettings
    parity: dict[str, float]
    research_use_only: bool
    files: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write release.json into `folder`."""
        write_json(folder / RELEASE_FILE, self.model_dump(mode="json"))

    @classmethod
    def read(cls, folder: Path) -> ReleaseManifest:
        """Inverse of `write`. Raises BadInput when the file is missing or not whole."""
        return cls.from_file(folder / RELEASE_FILE, "an exported release", _REMEDY)


class FeatureReference(Settings):
    """One numeric feature among the training patients.

    Attributes:
        mean, sd: in the feature's own unit.
        p: of its t-test against IDH.
    """

    mean: float
    sd: float
    p: float


class Contents(Settings):
    """A release without its bytes.

    Attributes:
        profile: name of the profile it was trained with.
        trained_on: phantoms or patients.
        grid: voxels a side of the network grid.
        segmenter: sequences of the segmenter, in channel order.
        channels: sequences of the classifier's image, in channel order.
        threshold: probability from which a voxel of the working grid is tumour.
        plan: how a patient is prepared.
        abstain_above: uncertainty above which a patient is not answered.
        ood_limit: distance to the training patients above which a patient is not answered.
        conformal: what the conformal sets are made from; None where the classifier makes none.
        features: the numeric features that the classifier reads, among its training patients.
    """

    profile: str
    trained_on: Origin
    grid: int = Field(ge=1)
    segmenter: tuple[Sequence, ...]
    channels: tuple[Sequence, Sequence]
    threshold: float
    plan: PreprocessingPlan
    abstain_above: float
    ood_limit: float
    conformal: ConformalCalibration | None = None
    features: dict[str, FeatureReference]

    @property
    def interface(self) -> Interface:
        """The tensors of this release."""
        return Interface(
            self.grid, self.segmenter, self.channels, self.plan.strip, self.plan.sequences
        )

    @property
    def limits(self) -> AbstentionLimits:
        """When a patient is not answered."""
        return AbstentionLimits(self.abstain_above, self.ood_limit)

    @property
    def plan_digest(self) -> str:
        """sha256 (hex) of the plan."""
        return self.plan.digest()

    def write(self, folder: Path) -> None:
        """Write contents.json into `folder`."""
        write_json(folder / CONTENTS_FILE, self.model_dump(mode="json"))

    @classmethod
    def read(cls, folder: Path) -> Contents:
        """Inverse of `write`. Raises BadInput when the file is missing or not whole."""
        return cls.from_file(folder / CONTENTS_FILE, "a release's contents", _REMEDY)


def release_beside(model: Path) -> str:
    """Release id of a served model's folder: from the release.json in it, or in its repository."""
    for folder in (model, model.parent):
        if (folder / RELEASE_FILE).is_file():
            return ReleaseManifest.read(folder).release
    raise BadInput(model, "no release.json in it or above it", _REMEDY)
