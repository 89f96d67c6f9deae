"""evaluation.json as a typed document. A figure that does not exist is None; areas are 0 to 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from components.core.files import write_json
from components.core.settings import Document
from components.evaluate.group_documents import (
    ConformalCoverage,
    EstimateEntry,
    IntervalEntry,
    Number,
    Subgroups,
)

EVALUATION_FILE = "evaluation.json"


class Auroc(EstimateEntry):
    """AUROC with its bootstrap interval, and DeLong's beside it."""

    delong_low: Number = None
    delong_high: Number = None
    delong_se: Number = None


class SegmentationEntry(Document):
    """Distribution of a measure over patients; `sd` with n - 1."""

    mean: Number
    sd: Number
    median: Number
    minimum: Number
    maximum: Number
    patients: int


class ConfusionEntry(Document):
    """Counts of patients; mutant is positive."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int


class Decisions(Document):
    """Figures at one probability threshold; a patient without an answer counts as wrong."""

    accuracy: Number
    accuracy_ci: IntervalEntry
    accuracy_answered: Number = None
    balanced_accuracy: Number
    balanced_accuracy_ci: IntervalEntry
    sensitivity: EstimateEntry
    specificity: EstimateEntry
    ppv: EstimateEntry
    npv: EstimateEntry
    confusion: ConfusionEntry | None = None


class TunedDecisions(Decisions):
    """Figures at Youden's threshold of other patients, and which."""

    threshold: float
    tuned_on: str


class CalibrationEntry(Document):
    """Logistic recalibration: slope and intercept fitted together, and the intercept alone."""

    slope: EstimateEntry
    intercept: EstimateEntry
    in_the_large: EstimateEntry


class ModelFigures(Decisions):
    """One model on one set, per patient or (with `slices`) per slice."""

    patients: int
    slices: int | None = None
    mutant: int | None = None
    wildtype: int | None = None
    unanswered: int | None = None
    unknown_idh: int | None = None
    abstained: int | None = None
    accuracy_without_abstained: Number = None
    auroc: Auroc
    auprc: EstimateEntry
    average_precision: EstimateEntry
    brier: EstimateEntry
    ece: EstimateEntry
    calibration: CalibrationEntry
    tuned: TunedDecisions | None = None


class SetFigures(BaseModel):
    """One test set: its patients, the agreement of masks, and under its name every model."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, ModelFigures] = Field(init=False)

    patients: int
    mutant: int
    wildtype: int
    unknown_idh: int
    no_tumor: int
    dice: SegmentationEntry

    @property
    def models(self) -> dict[str, ModelFigures]:
        """Model -> its figures."""
        return self.__pydantic_extra__


class Pair(Document):
    """A figure of two models on the same patients."""

    first: Number
    second: Number


class NonInferiorityEntry(Document):
    """Whether the first model's AUROC is worse by less than the margin."""

    margin: float
    p: Number
    passed: bool


class Comparison(Document):
    """Paired tests of two models on the same patients; `holm` adjusts over the test sets."""

    patients: int
    answered_by_both: int
    accuracy: Pair
    accuracy_difference: EstimateEntry
    auroc: Pair
    auroc_difference: EstimateEntry
    delong_p: Number
    binomial_p: Number
    mcnemar_p: Number
    delong_holm_p: Number = None
    binomial_holm_p: Number = None
    mcnemar_holm_p: Number = None
    only_first_correct: int
    only_second_correct: int
    non_inferiority: NonInferiorityEntry


class Roc(Document):
    """Points of a ROC curve; empty where it does not exist."""

    fpr: list[float]
    tpr: list[float]
    threshold: list[float]


class CalibrationPoint(Document):
    """One bin of predicted probability: mean, observed share of mutants, its limits."""

    predicted: float
    observed: float
    low: float
    high: float
    patients: int


class Curves(Document):
    """Points of every curve of one model on one set."""

    roc: Roc
    pr: dict[str, list[float]]
    calibration: list[CalibrationPoint]
    decision: dict[str, list[Number]]
    risk_coverage: dict[str, Any]


class Segmentation(Document):
    """Agreement with manual masks on one set, and the patients of lowest Dice."""

    dice: SegmentationEntry
    hd95_mm: SegmentationEntry
    volume_error_ml: SegmentationEntry
    worst: list[dict[str, str | Number]]


class SourceDigests(Document):
    """sha256 (hex) of what was evaluated."""

    predictions_sha256: str
    features_sha256: str | None


class SetEvaluation(Document):
    """Everything computed of one set by itself, to be joined with the others'."""

    figures: SetFigures
    per_slice: dict[str, ModelFigures]
    tests: dict[str, Comparison]
    origin: str
    segmentation: Segmentation
    subgroups: Subgroups | None
    conformal: ConformalCoverage | None = None
    curves: dict[str, Curves]


class Evaluation(Document):
    """Content of evaluation.json; most blocks by test set, then by model."""

    trained_on: str
    tested_on: dict[str, str]
    settings: dict[str, Any]
    settings_sha256: str
    inputs: SourceDigests
    models: list[str]
    sets: dict[str, SetFigures]
    per_slice: dict[str, dict[str, ModelFigures]]
    comparisons: dict[str, dict[str, Comparison]]
    segmentation: dict[str, Segmentation]
    subgroups: dict[str, Subgroups]
    conformal: dict[str, ConformalCoverage] = Field(default_factory=dict)
    curves: dict[str, dict[str, Curves]]
    cohorts: dict[str, Any] | None
    judged: SetEvaluation | None = None
    importance: list[dict[str, Any]] | None
    saliency: dict[str, dict[str, Any]] | None
    ablations: dict[str, Any] | None
    robustness: dict[str, Any] | None


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write evaluation.json atomically; what was never set has no key."""
    write_json(path, evaluation.model_dump(exclude_unset=True))


def read_evaluation(path: Path) -> Evaluation:
    """Read evaluation.json. Raises BadInput: missing, or not an evaluation."""
    return Evaluation.from_file(path, "an evaluation", "evaluate the predictions again")
