"""The evaluation of a run: every set, every model, every test, written for machines and readers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.files import sha256_file
from components.core.progress import Progress, silent
from components.core.vocabulary import Model
from components.evaluate.documents import EVALUATION_FILE, Evaluation, write_evaluation
from components.evaluate.read_tables import (
    check_labels,
    read_carried,
    read_features,
    read_predictions,
)
from components.evaluate.report.supplements import NO_SUPPLEMENTS, Supplements
from components.evaluate.run_evaluation import RunEvaluation
from components.evaluate.settings import EvaluateSettings


def evaluate_predictions(
    predictions: Path,
    features: Path | None,
    settings: EvaluateSettings,
    out: Path,
    *,
    supplements: Supplements = NO_SUPPLEMENTS,
    only: str | None = None,
    judged: Mapping[str, dict[str, Any]] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Evaluate every model on every test set and write the evaluation below `out`.

    Files: evaluation.json (what is returned), report.html, model_card.md, figures/*.svg.

    Args:
        predictions: predictions.csv of the classifier, all models and sets.
        features: features.csv of the samples, with `images` beside it; None: no subgroups by size,
            no Dice, no cohort table, no failure gallery.
        supplements: what other steps and commands found out, to be shown beside.
        only: evaluate one set alone.
        judged: set -> what an evaluation of the same files with `only` returned under "judged":
            those sets are not computed again.

    Returns:
        "sets" {SET: {"patients", "dice", ..., MODEL: figures}}, "per_slice", "comparisons",
        "segmentation", "subgroups", "cohorts", "curves", "trained_on", "settings", "inputs", what
        `supplements` hold, and with `only` "judged".

    Raises:
        BadInput: see `read_predictions`, `read_features` and `check_labels`; or no such set.
    """
    from components.evaluate.report.failure_gallery import find_failures
    from components.evaluate.report.page import write_report

    table = read_predictions(Path(predictions))
    people = read_features(Path(features)) if features is not None else None
    if people is not None:
        check_labels(table, people, Path(predictions))
        if supplements.manifest is not None:
            carried = read_carried(supplements.manifest)
            people = people.join(carried.drop(columns=people.columns, errors="ignore"))
    evaluation = RunEvaluation(table, people, settings, only)
    known = dict(judged or {})
    blocks = evaluation.evaluate_sets(known, progress)
    result = evaluation.join(blocks)
    if only is not None:
        result["judged"] = blocks[only]
    result["inputs"] = {
        "predictions_sha256": sha256_file(predictions),
        "features_sha256": sha256_file(features) if features is not None else None,
    }
    result |= supplements.read(people, evaluation.names)
    write_evaluation(out / EVALUATION_FILE, Evaluation.model_validate(result))
    samples = Path(features).parent if features is not None else None
    failures = {
        name: find_failures(
            evaluation.answers[name][Model.HYBRID],
            evaluation.people(name),
            samples,
            settings,
            supplements.saliency,
        )
        for name in evaluation.names
        if Model.HYBRID in evaluation.answers[name]
    }
    write_report(result, failures, settings, out)
    return result
