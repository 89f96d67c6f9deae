"""The statistics of one predictions file, and of two models on the same patients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.errors import BadInput
from components.core.vocabulary import LEARNT
from components.evaluate.read_tables import (
    ModelPredictions,
    predictions_of,
    read_predictions,
)
from components.evaluate.settings import EvaluateSettings
from components.evaluate.statistics.delong import paired_delong
from components.evaluate.statistics.paired_tests import (
    exact_binomial,
    exact_mcnemar,
    non_inferiority,
    paired_difference,
)
from components.evaluate.statistics.performance import (
    correct,
    patient_block,
    slice_block,
    without_nan,
)

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType


@dataclass(frozen=True)
class PredictionFilter:
    """Which rows of a predictions file are meant, and how two files are matched.

    Attributes:
        model, subset: rows of this model and set alone; "" takes the only one there is.
        column, other_column: where the probabilities stand in the file, and in the other one.
        shared: compare the patients that stand in both files, whoever else either holds.
    """

    model: str = ""
    subset: str = ""
    column: str = "probability"
    other_column: str = "probability"
    shared: bool = False


EVERYTHING = PredictionFilter()


def evaluate_table(
    path: Path,
    against: Path | None,
    settings: EvaluateSettings,
    choice: PredictionFilter = EVERYTHING,
) -> dict[str, Any]:
    """Every figure of one model, and its tests against another: what `glioflow evaluate` prints.

    Args:
        path: CSV with columns patient_id, idh, probability and, optionally, slice.
        against: the same for another model on the same patients. A file without idh (a list of
            published scores) takes the truth from `path`.
        choice: see PredictionFilter.

    Returns:
        The keys of `performance.patient_block`, "per_slice" (None without slices), and "against"
        (the keys of `compare_models`, "only_first" and "only_second": patients that stand in one
        file alone) when `against` is given.

    Raises:
        BadInput: an unusable file, several models in one file, or two files that disagree.
    """
    path = Path(path)
    rows = _one_model(path, read_predictions(path, choice.column), choice)
    answers = predictions_of(rows)
    result = {
        **patient_block(answers, settings),
        "per_slice": slice_block(answers, settings),
        "threshold": settings.threshold,
        "confidence": settings.confidence,
        "iterations": settings.iterations,
        "seed": settings.seed,
    }
    if against is not None:
        against = Path(against)
        truth = dict(zip(answers.patient_id.tolist(), answers.idh.tolist(), strict=True))
        table = read_predictions(against, choice.other_column, truth)
        table = _one_model(against, table, EVERYTHING)
        other = predictions_of(table)
        # Whose status neither file knows is judged by neither, and missed by neither.
        unknown = (set(rows["patient_id"]) - set(truth)) & set(table["patient_id"])
        ours, theirs = set(truth), set(table["patient_id"]) - unknown
        lonely = {"only_first": len(ours - theirs), "only_second": len(theirs - ours)}
        if not choice.shared:
            _check_names(ours, theirs, path, against)
        shared = np.intersect1d(answers.patient_id, other.patient_id)
        if not len(shared):
            raise BadInput(against, f"no patient of {path.name}", "check the patients' names")
        answers, other = answers.only(shared), other.only(shared)
        _check_truth(answers, other, path, against)
        result["against"] = {**compare_models(answers, other, settings), **lonely}
    return result


def compare_models(
    first: ModelPredictions, second: ModelPredictions, settings: EvaluateSettings
) -> dict[str, Any]:
    """Tests of two models on the patients of both; JSON-ready, None where undefined.

    Accuracies are of all patients, no answer counting as wrong; AUROCs of those whom both answered.
    `binomial_p` is the paper's test (first model's correct calls against the second's accuracy),
    `mcnemar_p` the one that allows for both models' errors.
    """
    shared = np.intersect1d(first.patient_id, second.patient_id)
    first, second = first.only(shared), second.only(shared)
    ours, theirs = correct(first, settings.threshold), correct(second, settings.threshold)
    gain, low, high = paired_difference(ours, theirs, settings.confidence)
    both = first.answered & second.answered
    idh, one, two = first.idh[both], first.probability[both], second.probability[both]
    test = paired_delong(idh, one, two, settings.confidence)
    margin = non_inferiority(idh, one, two, settings.margin, settings.confidence)
    return without_nan(
        {
            "patients": len(first.idh),
            "answered_by_both": int(both.sum()),
            "delong_p": test.p,
            "binomial_p": exact_binomial(int(ours.sum()), len(ours), _mean(theirs)),
            "mcnemar_p": exact_mcnemar(ours, theirs),
            "only_first_correct": int((ours & ~theirs).sum()),
            "only_second_correct": int((theirs & ~ours).sum()),
            "accuracy": {"first": _mean(ours), "second": _mean(theirs)},
            "accuracy_difference": {"value": gain, "low": low, "high": high},
            "auroc": {"first": test.first, "second": test.second},
            "auroc_difference": {"value": test.difference, "low": test.low, "high": test.high},
            "non_inferiority": vars(margin),
        }
    )


def _mean(right: np.ndarray) -> float:
    return float(right.mean()) if len(right) else math.nan


def _one_model(path: Path, table: pd.DataFrame, choice: PredictionFilter) -> pd.DataFrame:
    """The rows of one model on one set."""
    for column, wanted in (("model", choice.model), ("subset", choice.subset)):
        if wanted:
            found = sorted(set(table[column]))
            table = table[table[column] == wanted]
            if table.empty:
                raise BadInput(path, f"no {column} is '{wanted}'", f"use one of {', '.join(found)}")
    models = sorted(set(table["model"]))
    if len(models) > 1:
        raise BadInput(
            path,
            f"predictions of {len(models)} models ({', '.join(models)})",
            "choose one with --model, or give a file with the rows of one",
        )
    table = table[~table["subset"].isin(LEARNT)]
    if table.empty or table["idh"].isna().all():
        raise BadInput(path, "no patient with a known IDH status to test on", "fill column idh")
    sets = sorted(set(table["subset"]))
    if table[["patient_id", "subset"]].drop_duplicates()["patient_id"].duplicated().any():
        raise BadInput(
            path,
            f"a patient stands in two of the sets {', '.join(sets)}",
            "choose one with --set, or give one set a file",
        )
    return table


def _check_names(ours: set[str], theirs: set[str], path: Path, other: Path) -> None:
    if ours == theirs:
        return
    odd = min(ours ^ theirs)
    where, lacking = (path, other) if odd in ours else (other, path)
    raise BadInput(
        lacking,
        f"patient {odd} is missing, but stands in {where.name}"
        f" ({len(ours ^ theirs)} patients differ)",
        "give both models' predictions of the same patients, or compare those in both with"
        " --shared",
    )


def _check_truth(
    first: ModelPredictions, second: ModelPredictions, path: Path, other: Path
) -> None:
    differs = first.idh != second.idh
    if differs.any():
        raise BadInput(
            f"{other}, patient {first.patient_id[differs][0]}",
            f"another IDH status than in {path.name} ({int(differs.sum())} patients differ)",
            "give both files the same truth",
        )


def statistics_table(result: dict[str, Any]) -> RenderableType:
    """The result of `evaluate_table` for a terminal."""
    from rich.console import Group
    from rich.table import Table

    percent = f"{100 * result['confidence']:g} % CI"
    title = (
        f"{result['patients']} patients, {result['mutant']} mutant; "
        f"unanswered {result['unanswered']}"
    )
    table = Table(title=title, title_justify="left")
    for heading in ("", "per patient", percent, "per slice", percent):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, label in _LINES.items():
        row = [label]
        for block in (result, result["per_slice"]):
            row += _cells(block, name)
        table.add_row(*row)
    parts: list[RenderableType] = [table]
    if "against" in result:
        parts.append(_render_tests(result["against"]))
    return Group(*parts)


_LINES = {
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "auroc": "AUROC",
    "auprc": "AUPRC (PRROC)",
    "average_precision": "average precision",
    "brier": "Brier score",
    "ece": "calibration error",
}


def _cells(block: dict[str, Any] | None, name: str) -> list[str]:
    found = (block or {}).get(name)
    if block and name == "accuracy":
        found = {"value": block["accuracy"], **block["accuracy_ci"]}
    if not found or found["value"] is None:
        return ["-", ""]
    limits = "" if found["low"] is None else f"{found['low']:.3f} to {found['high']:.3f}"
    return [f"{found['value']:.3f}", limits]


def _render_tests(tests: dict[str, Any]) -> RenderableType:
    from rich.table import Table

    areas = [f"{tests['auroc'][who]:.3f}" if tests["auroc"][who] is not None else "-"
             for who in ("first", "second")]  # fmt: skip
    title = (
        f"against the other model, {tests['patients']} patients: AUROC {areas[0]} and {areas[1]}"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("P", justify="right")
    labels = {
        "delong_p": "AUROC, DeLong",
        "binomial_p": "accuracy, exact binomial",
        "mcnemar_p": "accuracy, exact McNemar",
    }
    for key, label in labels.items():
        table.add_row(label, "-" if tests[key] is None else f"{tests[key]:.3g}")
    margin = tests["non_inferiority"]
    verdict = "not worse" if margin["passed"] else "may be worse"
    shown = "-" if margin["p"] is None else f"{margin['p']:.3g} ({verdict})"
    table.add_row(f"AUROC not worse by {margin['margin']:g}, DeLong", shown)
    return table
