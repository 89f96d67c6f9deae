"""What a run says at its end: summary.json, and the table on the terminal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.files import read_json
from components.core.html import percent
from components.core.settings import Document
from components.core.tables import read_csv
from components.core.vocabulary import Model, Origin
from components.evaluate.documents import EVALUATION_FILE, SetFigures, read_evaluation
from components.evaluate.report.formatting import interval, mean_sd
from components.registry.gate.verdict import GateVerdict, Published
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


class CohortSummary(Document):
    """Patients of a cohort: all, those that validation quarantined, those that a step failed."""

    patients: int
    quarantined: int
    failed: int


class RunSummary(Document):
    """Content of summary.json.

    Attributes:
        unsent: why MLflow has no record of the run, and how to send it; empty where it has one.
    """

    profile: str
    trained_on: Origin
    cohorts: dict[str, CohortSummary]
    sets: dict[str, SetFigures]
    gate: GateVerdict
    release: str
    mlflow_run_id: str | None
    unsent: str

    def content(self) -> dict[str, Any]:
        """As JSON's own types; what was never set has no key."""
        return self.model_dump(mode="json", exclude_unset=True)


def summarise(profile: Profile, outputs: dict[str, Path]) -> RunSummary:
    """Gather summary.json from the artifacts of a run (output name -> path)."""
    release = ReleaseManifest.read(outputs["repository"])
    published = Published.read(outputs["published"])
    return RunSummary(
        profile=profile.name,
        trained_on=release.trained_on,
        cohorts=_cohorts(outputs),
        sets=read_evaluation(outputs["evaluation"] / EVALUATION_FILE).sets,
        gate=published.gate,
        release=release.release,
        mlflow_run_id=published.mlflow_run_id,
        unsent=published.gate.reason if published.pending else "",
    )


def _cohorts(outputs: dict[str, Path]) -> dict[str, CohortSummary]:
    validation = read_json(outputs["validated"] / "validation.json")
    arrived = Counter(row["cohort"] for row in read_csv(outputs["samples"] / "features.csv"))
    return {
        name: CohortSummary(
            patients=found["patients"],
            quarantined=found["quarantined"],
            failed=found["patients"] - found["quarantined"] - arrived[name],
        )
        for name, found in validation["cohorts"].items()
    }


def losses(summary: RunSummary, out: Path) -> list[str]:
    """A line for each cohort that lost patients: how many, and where the reasons are."""
    lines = []
    for name, found in summary.cohorts.items():
        parts = [
            f"{count} {what} ({where})"
            for what, count, where in (
                ("quarantined", found.quarantined, out / "validated" / "quarantine.csv"),
                ("failed", found.failed, out / "run.log"),
            )
            if count
        ]
        if parts:
            none_left = found.quarantined + found.failed == found.patients
            end = "; none is left, and it was not tested" if none_left else ""
            lines.append(f"{name}: of {found.patients} patients {', '.join(parts)}{end}")
    return lines


def table(summary: RunSummary) -> Table:
    """The run's results as one table: a row a model and test set."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = f"{summary.release}, trained on {summary.trained_on}"
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
    for name, block in summary.sets.items():
        dice = mean_sd(block.dice.model_dump(), missing=_MISSING)
        leads = iter([(name, dice), (f"n = {block.patients}", "")])
        for model, model_title in MODEL_TITLES.items():
            scores = block.models.get(model.value)
            if scores is None:
                continue
            result.add_row(
                *next(leads, ("", "")),
                model_title,
                percent(scores.accuracy, _MISSING),
                interval(scores.auroc.model_dump(), 2, "-", _MISSING),
                interval(scores.auprc.model_dump(), 2, "-", _MISSING),
                style="bold" if model is Model.HYBRID else None,
                end_section=model is list(MODEL_TITLES)[-1],
            )
    return result
