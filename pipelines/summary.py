"""What a run says at its end: summary.json, and the table on the terminal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.files import read_json
from components.core.html import number, percent
from components.core.tables import read_csv
from components.core.vocabulary import Model
from components.evaluate.report.formatting import interval
from components.registry.gate.verdict import Published
from components.release.manifest import ReleaseManifest
from pipelines.profile import Profile

if TYPE_CHECKING:
    from rich.table import Table

_MISSING = "-"

MODEL_TITLES = {
    Model.HYBRID: "hybrid",
    Model.RESNET: "ResNet",
    Model.RADIOMICS: "radiomics",
    Model.AGE: "age",
}
MODEL_MEANINGS = (
    "hybrid: images, shape, loci and age; ResNet: images; radiomics: random forest on shape, "
    "loci and age; age: logistic regression. 95 % confidence intervals in parentheses."
)


def summarise(profile: Profile, outputs: dict[str, Path]) -> dict[str, Any]:
    """Gather summary.json from the artifacts of a run (output name -> path)."""
    evaluation = read_json(outputs["evaluation"] / "evaluation.json")
    release = ReleaseManifest.read(outputs["repository"])
    published = Published.read(outputs["published"])
    return {
        "profile": profile.name,
        "trained_on": release.trained_on.value,
        "cohorts": _cohorts(outputs),
        "sets": evaluation["sets"],
        "gate": published.gate.content(),
        "release": release.release,
        "mlflow_run_id": published.mlflow_run_id,
    }


def _cohorts(outputs: dict[str, Path]) -> dict[str, dict[str, int]]:
    """Cohort -> its patients, those that validation quarantined, those that a later step failed."""
    validation = read_json(outputs["validated"] / "validation.json")
    arrived = Counter(row["cohort"] for row in read_csv(outputs["samples"] / "features.csv"))
    return {
        name: {
            "patients": found["patients"],
            "quarantined": found["quarantined"],
            "failed": found["patients"] - found["quarantined"] - arrived[name],
        }
        for name, found in validation["cohorts"].items()
    }


def losses(summary: dict[str, Any], out: Path) -> list[str]:
    """A line for each cohort that lost patients: how many, and where the reasons are."""
    lines = []
    for name, found in summary["cohorts"].items():
        parts = [
            f"{found[count]} {count} ({where})"
            for count, where in (
                ("quarantined", out / "validated" / "quarantine.csv"),
                ("failed", out / "run.log"),
            )
            if found[count]
        ]
        if parts:
            none_left = found["quarantined"] + found["failed"] == found["patients"]
            end = "; none is left, and it was not tested" if none_left else ""
            lines.append(f"{name}: of {found['patients']} patients {', '.join(parts)}{end}")
    return lines


def table(summary: dict[str, Any]) -> Table:
    """The run's results as one table: a row a model and test set."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = f"{summary['release']}, trained on {summary['trained_on']}"
    result = Table(
        title=title,
        title_justify="left",
        caption=MODEL_MEANINGS,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1),
        pad_edge=False,
        collapse_padding=True,
    )
    for heading in ("set", "Dice", "model"):
        result.add_column(heading, no_wrap=True)
    for heading in ("accuracy", "AUROC", "AUPRC"):
        result.add_column(heading, justify="right", no_wrap=True)
    for name, block in summary["sets"].items():
        leads = iter([(name, _dice(block["dice"])), (f"n = {block['patients']}", "")])
        for model, model_title in MODEL_TITLES.items():
            if model.value not in block:
                continue
            scores = block[model.value]
            result.add_row(
                *next(leads, ("", "")),
                model_title,
                percent(scores["accuracy"], _MISSING),
                interval(scores["auroc"], 2, "-", _MISSING),
                interval(scores["auprc"], 2, "-", _MISSING),
                style="bold" if model is Model.HYBRID else None,
                end_section=model is list(MODEL_TITLES)[-1],
            )
    return result


def _dice(dice: dict[str, float | None] | None) -> str:
    if not dice or dice["mean"] is None:
        return _MISSING
    spread = "" if dice["sd"] is None else f" ±{number(dice['sd'])}"
    return number(dice["mean"]) + spread
