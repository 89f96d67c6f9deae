"""prediction.json: what is said about one patient, as whoever parses it may rely on."""

from __future__ import annotations

from typing import Any, Self

from pydantic import ConfigDict

from components.classify.inference.conformal import ConformalCalibration, IdhSet
from components.core.settings import Document
from components.core.vocabulary import Origin, Status

RESEARCH_USE = "research use only; not a medical device"
ON_PHANTOMS = "trained on phantoms: the probability says nothing about a patient"


class Inputs(Document):
    """What was answered.

    Attributes:
        files: name -> sha256 (hex) of a file, or of a series' files' sha256 joined by commas.
        request: sha256 (hex) over the tensors; the audit line's input_sha256. None where the
            images could not be prepared.
    """

    files: dict[str, str]
    request: str | None


class Preparation(Document):
    """How the images were prepared.

    Attributes:
        plan: sha256 (hex) of the preprocessing plan.
        quality: see PreparedCase; None where the images could not be prepared.
        grid: the network grid in the T1C's patient space (LPS, mm), on which the judged slices
            lie; see Grid.to_json. None where the images could not be prepared.
    """

    plan: str
    quality: dict[str, float] | None
    grid: dict[str, list[float]] | None = None


class Reason(Document):
    """Why nothing is said of images that could be read.

    Attributes:
        check: machine-readable name of the check that failed.
        sentence: the same for people.
    """

    check: str
    sentence: str


class ConformalSet(Document):
    """Statuses that the patient's probability does not rule out.

    Attributes:
        idh: mutant, wildtype, both or none.
        level: share of each class whose true status lies in the set, were the patients
            exchangeable with those it was calibrated on.
        calibrated_on: held-out patients of each status.
    """

    idh: IdhSet
    level: float
    calibrated_on: dict[str, int]

    @classmethod
    def of(cls, found: ConformalCalibration, probability: float) -> Self:
        """The set of one patient by his P(IDH mutant)."""
        return cls(
            idh=found.idh_set(probability),
            level=found.level,
            calibrated_on={"mutant": len(found.mutant), "wildtype": len(found.wildtype)},
        )


class Prediction(Document):
    """One answer. Numbers are None where there are none.

    Attributes:
        patient_id: pseudonym.
        status: ok, no_tumor or abstain; the last says that no number is to be relied on.
        probability_idh_mutant: mean over the slices.
        conformal: None without a probability, and of a release that makes no sets.
        slices: the five slices' probabilities, in the order of `slice_indices`.
        slice_indices: 0-based z on the network grid.
        features: the 24 numeric features.
        tumor_volume_ml: 0 without a tumour, None where the images could not be prepared.
        uncertainty: disagreement of the networks.
        ood: distance to the training patients.
        release, trained_on, profile: what answered.
        inputs, preprocessing: see there.
        warnings: sentences a reader must see.
        intended_use: research.
        reason: only where the images could not be prepared.
        saliency: sequence -> shares of the saliency by place; only of an explained answer.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    patient_id: str
    status: Status
    probability_idh_mutant: float | None = None
    conformal: ConformalSet | None = None
    slices: tuple[float, ...] | None = None
    slice_indices: tuple[int, ...] | None = None
    features: dict[str, float] | None = None
    tumor_volume_ml: float | None = None
    uncertainty: float | None = None
    ood: float | None = None
    release: str
    trained_on: Origin
    profile: str
    inputs: Inputs
    preprocessing: Preparation
    warnings: tuple[str, ...]
    intended_use: str = RESEARCH_USE
    reason: Reason | None = None
    saliency: dict[str, dict[str, float]] | None = None

    def content(self) -> dict[str, Any]:
        """As JSON's own types; reason and saliency only where there is one."""
        left_out = {name for name in ("reason", "saliency") if getattr(self, name) is None}
        return self.model_dump(mode="json", exclude=left_out)
