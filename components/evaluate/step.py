"""What the KFP step shows of an evaluation, and the files its artifacts need."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.cohort.errors import BadInput
from components.cohort.files import atomic, write_json
from components.cohort.vocabulary import Model
from components.evaluate.evaluate import INTERNAL, evaluate_predictions
from components.evaluate.settings import EvaluateSettings

PREDICTIONS_FILE = "predictions.csv"


@dataclass(frozen=True)
class Shown:
    """Numbers for KFP's own views, all finite; lists are empty where a curve does not exist."""

    metrics: dict[str, float]
    confusion: list[list[int]]
    fpr: list[float]
    tpr: list[float]
    threshold: list[float]


def evaluate_step(
    predictions: Path,
    samples: Path,
    settings: EvaluateSettings,
    out: Path,
    *,
    report: Path,
    metrics: Path,
    roc: Path,
    progress: Callable[[int, int, str], None] | None = None,
) -> Shown:
    """Evaluate into `out` and write the files of the step's other artifacts.

    Args:
        predictions: predictions.csv, or the folder that holds it.
        samples: folder with features.csv.
        report, metrics, roc: files to write: the report, and the numbers shown. (KFP takes an
            artifact without a file for one that was never made.)
    """
    table = predictions / PREDICTIONS_FILE if predictions.is_dir() else predictions
    features = samples / "features.csv"
    if not features.is_file():
        raise BadInput(features, "no such file", "run the features step again")
    result = evaluate_predictions(table, features, settings, out, progress=progress)
    shown = what_is_shown(result)
    with atomic(report) as temporary:
        shutil.copyfile(out / "report.html", temporary)
    write_json(metrics, shown.metrics)
    write_json(roc, {"fpr": shown.fpr, "tpr": shown.tpr, "confusion": shown.confusion})
    return shown


def what_is_shown(result: dict[str, Any]) -> Shown:
    """The hybrid's headline figures by set, its curve and matrix on the first external one."""
    numbers: dict[str, float] = {}
    for name, block in result["sets"].items():
        hybrid = block.get(Model.HYBRID.value, {})
        found = {
            "dice": block["dice"]["mean"],
            "accuracy": hybrid.get("accuracy"),
            "auroc": hybrid.get("auroc", {}).get("value"),
            "auprc": hybrid.get("auprc", {}).get("value"),
        }
        numbers |= {f"{name}_{key}": value for key, value in found.items() if value is not None}
    judged = [name for name, block in result["sets"].items() if Model.HYBRID.value in block]
    chosen = next((name for name in judged if name != INTERNAL), next(iter(judged), None))
    if chosen is None:
        return Shown(numbers, [], [], [], [])
    counts = result["sets"][chosen][Model.HYBRID.value]["confusion"]
    curve = result["curves"][chosen][Model.HYBRID.value]["roc"]
    matrix = [
        [counts["true_negative"], counts["false_positive"]],
        [counts["false_negative"], counts["true_positive"]],
    ]
    return Shown(numbers, matrix, curve["fpr"], curve["tpr"], curve["threshold"])
