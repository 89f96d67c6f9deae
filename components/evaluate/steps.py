"""What the KFP step shows of an evaluation, and the files its artifacts need."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.core.errors import BadInput
from components.core.files import atomic, sha256_file, write_json
from components.core.progress import Progress, silent
from components.core.vocabulary import Model, Split
from components.evaluate.documents import EVALUATION_FILE, Evaluation, read_evaluation
from components.evaluate.evaluate import evaluate_predictions
from components.evaluate.report.supplements import Supplements
from components.evaluate.settings import EvaluateSettings

PREDICTIONS_FILE = "predictions.csv"
ACCEPTED_FILE = "accepted.csv"


@dataclass(frozen=True)
class KfpMetrics:
    """Numbers for KFP's own views, all finite; lists are empty where a curve does not exist."""

    metrics: dict[str, float]
    confusion: list[list[int]]
    fpr: list[float]
    tpr: list[float]
    threshold: list[float]

    def log(self, metrics: Any, roc: Any) -> None:
        """Show them: KFP's artifacts of the kinds Metrics and ClassificationMetrics."""
        for name, value in self.metrics.items():
            metrics.log_metric(name, value)
        if self.confusion:
            roc.log_confusion_matrix(["wildtype", "mutant"], self.confusion)
            roc.log_roc_curve(self.fpr, self.tpr, self.threshold)


@dataclass(frozen=True)
class StepInputs:
    """Artifacts that the evaluation reads.

    Attributes:
        predictions: predictions.csv, or the folder that holds it.
        samples: folder with features.csv and images.
        classifier: model folder of the classifier.
        validated: folder with accepted.csv.
    """

    predictions: Path
    samples: Path
    classifier: Path
    validated: Path

    @property
    def table(self) -> Path:
        """predictions.csv."""
        folder = self.predictions
        return folder / PREDICTIONS_FILE if folder.is_dir() else folder

    @property
    def features(self) -> Path:
        """features.csv. Raises BadInput when it is missing."""
        features = self.samples / "features.csv"
        if not features.is_file():
            raise BadInput(features, "no such file", "run the features step again")
        return features

    @property
    def supplements(self) -> Supplements:
        """What the report shows beside."""
        return Supplements(classifier=self.classifier, manifest=self.validated / ACCEPTED_FILE)


@dataclass(frozen=True)
class StepViews:
    """Files of what KFP shows. (It takes an artifact without a file for one never made.)"""

    report: Path
    metrics: Path
    roc: Path

    def write(self, shown: KfpMetrics, report: Path) -> KfpMetrics:
        """Write the report and the numbers shown; returns them."""
        with atomic(self.report) as temporary:
            shutil.copyfile(report, temporary)
        write_json(self.metrics, shown.metrics)
        curve = {"fpr": shown.fpr, "tpr": shown.tpr, "confusion": shown.confusion}
        write_json(self.roc, curve)
        return shown


def evaluate_set_step(
    inputs: StepInputs,
    test_set: str,
    settings: EvaluateSettings,
    out: Path,
    views: StepViews,
    *,
    progress: Progress = silent,
) -> KfpMetrics:
    """Evaluate one test set into `out`: what `evaluate_step` joins, and a report of that set."""
    result = evaluate_predictions(
        inputs.table, inputs.features, settings, out,
        supplements=inputs.supplements, only=test_set, progress=progress,
    )  # fmt: skip
    return views.write(kfp_metrics(Evaluation.model_validate(result)), out / "report.html")


def evaluate_step(
    inputs: StepInputs,
    judged: Iterable[Path],
    settings: EvaluateSettings,
    out: Path,
    views: StepViews,
    *,
    progress: Progress = silent,
) -> KfpMetrics:
    """Join the evaluations of the test sets into `out`: one report, tests adjusted over the sets.

    Args:
        judged: folders that `evaluate_set_step` wrote; a set without one is judged here.

    Raises:
        BadInput: see `evaluate_predictions`; or a folder judged other predictions or settings.
    """
    known = {}
    for folder in judged:
        content = read_evaluation(folder / EVALUATION_FILE)
        same = content.inputs.predictions_sha256 == sha256_file(inputs.table)
        if not same or content.settings_sha256 != settings.digest() or content.judged is None:
            raise BadInput(
                folder, "judged other predictions or by other settings", "evaluate the sets again"
            )
        (name,) = content.sets
        known[name] = content.judged.model_dump(exclude_unset=True)
    result = evaluate_predictions(
        inputs.table, inputs.features, settings, out,
        supplements=inputs.supplements, judged=known, progress=progress,
    )  # fmt: skip
    return views.write(kfp_metrics(Evaluation.model_validate(result)), out / "report.html")


def kfp_metrics(evaluation: Evaluation) -> KfpMetrics:
    """The hybrid's headline figures by set, its curve and matrix on the first external one."""
    numbers: dict[str, float] = {}
    hybrids = {}
    for name, block in evaluation.sets.items():
        found = {"dice": block.dice.mean}
        if hybrid := block.models.get(Model.HYBRID.value):
            hybrids[name] = hybrid
            found |= {
                "accuracy": hybrid.accuracy,
                "auroc": hybrid.auroc.value,
                "auprc": hybrid.auprc.value,
            }
        numbers |= {f"{name}_{key}": value for key, value in found.items() if value is not None}
    chosen = next((name for name in hybrids if name != Split.INTERNAL), next(iter(hybrids), None))
    if chosen is None:
        return KfpMetrics(numbers, [], [], [], [])
    counts = hybrids[chosen].confusion
    assert counts is not None
    matrix = [
        [counts.true_negative, counts.false_positive],
        [counts.false_negative, counts.true_positive],
    ]
    curve = evaluation.curves[chosen][Model.HYBRID.value].roc
    return KfpMetrics(numbers, matrix, curve.fpr, curve.tpr, curve.threshold)
