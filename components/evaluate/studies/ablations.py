"""The ablations of a run beside each other, and beside the paper's (its eTable 4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import BadInput
from components.core.files import read_json, write_json, write_text
from components.core.tables import write_csv
from components.evaluate.predictions_file import compare_models
from components.evaluate.read_tables import ModelPredictions, read_predictions
from components.evaluate.report import published
from components.evaluate.report.formatting import area, interval
from components.evaluate.run_evaluation import RunEvaluation
from components.evaluate.settings import EvaluateSettings
from components.evaluate.statistics.performance import patient_block, without_nan

if TYPE_CHECKING:
    from rich.console import RenderableType

FULL = "full"
ABLATION_FILE, PREDICTIONS_FILE = "ablation.json", "predictions.csv"
COLUMNS = (
    *("ablation", "title", "model", "set", "patients", "accuracy", "accuracy_low", "accuracy_high"),
    *("auroc", "auroc_low", "auroc_high", "auprc", "auprc_low", "auprc_high"),
    *("auroc_lost", "auroc_lost_low", "auroc_lost_high", "delong_p"),
)


def evaluate_ablations(
    folders: Iterable[Path], settings: EvaluateSettings, out: Path
) -> dict[str, Any]:
    """Judge every ablation on every set; write ablations.json, .csv and .md below `out`.

    Args:
        folders: one an ablation, with ablation.json and predictions.csv; one is named `FULL`.

    Returns:
        "ablations" [{"name", "title", "of_images"}], "sets", "rows" (one an ablation, set and model
        that the ablation changes: accuracy, AUROC and AUPRC with intervals, and "lost", what the
        AUROC of the same model falls by against `FULL`, with DeLong's interval and P), "paper"
        (ranges of eTable 4), and the settings of training and evaluation.

    Raises:
        BadInput: a folder is not an ablation's, or there is no `FULL`.
    """
    found = [_read(Path(folder)) for folder in folders]
    studies = {one["name"]: RunEvaluation(one.pop("table"), None, settings) for one in found}
    if FULL not in studies:
        raise BadInput("ablations", f"none is named '{FULL}'", "run `glioflow ablate` again")
    sets = studies[FULL].names
    rows: list[dict[str, Any]] = []
    for one in found:
        for model in one["models"]:
            for name in sets:
                rows += _row(one, model, name, studies, settings)
    result = without_nan(
        {
            "ablations": [{key: one[key] for key in ("name", "title", "of_images")}
                          for one in found],
            "sets": sets,
            "rows": rows,
            "paper": {
                "less": published.ABLATED_LESS,
                "tumor_masked_out": published.ABLATED_TUMOR,
                "citation": published.CITATION,
            },
            "training": next(one["settings"] for one in found if one["name"] == FULL),
            "settings": settings.model_dump(mode="json"),
        }
    )  # fmt: skip
    write_json(out / "ablations.json", result)
    write_csv(out / "ablations.csv", COLUMNS, map(_cells, rows))
    write_text(out / "ablations.md", ablations_markdown(result))
    return result


def _read(folder: Path) -> dict[str, Any]:
    try:
        content = read_json(folder / ABLATION_FILE)
        kept = {key: content[key] for key in ("name", "title", "models", "of_images", "settings")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            folder, f"not an ablation's folder ({error})", "run `glioflow ablate` again"
        ) from None
    return kept | {"table": read_predictions(folder / PREDICTIONS_FILE)}


def _row(
    one: dict[str, Any],
    model: str,
    name: str,
    studies: dict[str, RunEvaluation],
    settings: EvaluateSettings,
) -> list[dict[str, Any]]:
    """The row of one ablation, model and set; none where the model did not answer."""
    answers: ModelPredictions | None = studies[one["name"]].answers.get(name, {}).get(model)
    whole = studies[FULL].answers[name].get(model)
    if answers is None or whole is None:
        return []
    block = patient_block(answers, settings)
    row = {
        "ablation": one["name"],
        "title": one["title"],
        "model": model,
        "set": name,
        "patients": block["patients"],
        "accuracy": {"value": block["accuracy"], **block["accuracy_ci"]},
        "auroc": {key: block["auroc"][key] for key in ("value", "low", "high")},
        "auprc": block["auprc"],
        "lost": None,
        "delong_p": None,
    }
    if one["name"] != FULL:
        test = compare_models(whole, answers, settings)
        row |= {"lost": test["auroc_difference"], "delong_p": test["delong_p"]}
    return [row]


def _cells(row: dict[str, Any]) -> list[Any]:
    cells = [row[key] for key in ("ablation", "title", "model", "set", "patients")]
    for key in ("accuracy", "auroc", "auprc", "lost"):
        interval = row[key] or {"value": None, "low": None, "high": None}
        cells += [interval[part] for part in ("value", "low", "high")]
    return [*cells, row["delong_p"]]


def ablations_markdown(result: dict[str, Any]) -> str:
    """A table of AUROC (and its fall) by ablation, model and set, the paper's ranges below."""
    from components.evaluate.report.canvas import label_of

    sets = result["sets"]
    lines = ["| left in | model | " + " | ".join(f"{name}: AUROC | lost" for name in sets) + " |"]
    lines.append("|---|---|" + "---:|---:|" * len(sets))
    for title, model, by_set in _by_model(result):
        cells = [
            f"{area(by_set[name]['auroc'])} | {interval(by_set[name]['lost'])}"
            if name in by_set
            else "– | –"
            for name in sets
        ]
        lines.append(f"| {title} | {label_of(model)} | " + " | ".join(cells) + " |")
    lines += ["", *(f"- {line}" for line in paper_lines())]
    return "\n".join(lines) + "\n"


def _by_model(result: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, dict[str, Any]]]]:
    """(title of an ablation, model, set -> row) of everything that was answered."""
    for one in result["ablations"]:
        rows = [row for row in result["rows"] if row["ablation"] == one["name"]]
        for model in dict.fromkeys(row["model"] for row in rows):
            yield one["title"], model, {row["set"]: row for row in rows if row["model"] == model}


def paper_lines() -> list[str]:
    """What the paper found, in words."""
    told = []
    for what, ranges in (
        ("fewer slices, fewer sequences, or only the tumour", published.ABLATED_LESS),
        ("the tumour masked out", published.ABLATED_TUMOR),
    ):
        (low, high), auroc, auprc = ranges["accuracy"], ranges["auroc"], ranges["auprc"]
        told.append(
            f"paper, conventional ResNet with {what}: accuracy {100 * low:.1f} % to"
            f" {100 * high:.1f} %, AUROC {auroc[0]:.2f} to {auroc[1]:.2f},"
            f" AUPRC {auprc[0]:.2f} to {auprc[1]:.2f} over its test sets"
        )
    return told


def ablations_table(result: dict[str, Any]) -> RenderableType:
    """The result of `evaluate_ablations` for a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table

    from components.evaluate.report.canvas import label_of

    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("left in")
    table.add_column("model")
    for name in result["sets"]:
        table.add_column(f"{name}\nAUROC", justify="right")
    for title, model, by_set in _by_model(result):
        cells = [area(by_set.get(name, {}).get("auroc")) for name in result["sets"]]
        table.add_row(title, label_of(model), *cells)
    return Group(table, *paper_lines())
