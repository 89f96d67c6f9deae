"""The evaluation of a run: every set, every model, every test, written for machines and readers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.files import sha256_file, write_json
from components.core.progress import Progress
from components.core.vocabulary import Model
from components.evaluate.reading import (
    check_labels,
    read_carried,
    read_features,
    read_predictions,
)
from components.evaluate.report.study_results import NOTHING_MORE, More
from components.evaluate.run_results import Study
from components.evaluate.settings import EvaluateSettings


def evaluate_predictions(
    predictions: Path,
    features: Path | None,
    settings: EvaluateSettings,
    out: Path,
    *,
    more: More = NOTHING_MORE,
    only: str | None = None,
    judged: Mapping[str, dict[str, Any]] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Judge every model on every test set and write the evaluation below `out`.

    Files: evaluation.json (what is returned), report.html, model_card.md, figures/*.svg.

    Args:
        predictions: predictions.csv of the classifier, all models and sets.
        features: features.csv of the samples, with `images` beside it; None: no subgroups by size,
            no Dice, no cohort table, no failure gallery.
        more: what other steps and commands found out, to be shown beside.
        only: judge one set alone.
        judged: set -> what an evaluation of the same files with `only` returned under "judged":
            those sets are not computed again.

    Returns:
        "sets" {SET: {"patients", "dice", ..., MODEL: figures}}, "per_slice", "comparisons",
        "segmentation", "subgroups", "cohorts", "curves", "trained_on", "settings", "inputs", what
        `more` holds, and with `only` "judged".

    Raises:
        BadInput: see `tables.read_predictions`, `read_features` and `check_labels`; or no such set.
    """
    from components.evaluate.report.failure_gallery import find_failures
    from components.evaluate.report.page import write_report

    table = read_predictions(Path(predictions))
    people = read_features(Path(features)) if features is not None else None
    if people is not None:
        check_labels(table, people, Path(predictions))
        if more.manifest is not None:
            carried = read_carried(more.manifest)
            people = people.join(carried.drop(columns=people.columns, errors="ignore"))
    study = Study(table, people, settings, only)
    known = dict(judged or {})
    blocks = study.judge_all(known, progress or _silent)
    result = study.join(blocks)
    if only is not None:
        result["judged"] = blocks[only]
    result["inputs"] = {
        "predictions_sha256": sha256_file(predictions),
        "features_sha256": sha256_file(features) if features is not None else None,
    }
    result |= more.read(people, study.names)
    write_json(out / "evaluation.json", result)
    samples = Path(features).parent if features is not None else None
    failures = {
        name: find_failures(
            study.answers[name][Model.HYBRID], study.people(name), samples, settings, more.saliency
        )
        for name in study.names
        if Model.HYBRID in study.answers[name]
    }
    write_report(result, failures, settings, out)
    return result


def _silent(done: int, total: int, what: str) -> None:
    """Report no progress."""
