"""How performance falls as images get worse: the same patients at every level of degradation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.files import write_json, write_text
from components.core.tables import write_records
from components.core.vocabulary import Status
from components.evaluate.read_tables import ModelPredictions
from components.evaluate.report.formatting import area, mean_sd
from components.evaluate.settings import EvaluateSettings
from components.evaluate.statistics.performance import patient_block, without_nan
from components.evaluate.statistics.segmentation import summary

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Trial:
    """One patient at one level.

    Attributes:
        degradation: what is made worse; unit: of its level, empty where levels have no numbers.
        level: its number (the order, where there is no unit).
        label: for readers.
        probability: NaN where there was no answer; refused: status is empty.
        dice: against the true mask; NaN where there is none.
    """

    degradation: str
    unit: str
    level: float
    label: str
    patient_id: str
    idh: int
    status: str
    probability: float
    dice: float


def evaluate_robustness(
    trials: Iterable[Trial], about: dict[str, Any], settings: EvaluateSettings, out: Path
) -> dict[str, Any]:
    """Write robustness.json, .csv (every trial), .md and .svg below `out`; returns the JSON.

    Args:
        about: what was tried (site, seed, release ...), copied into the result.

    Returns:
        `about`, and "degradations" [{"degradation", "unit", "levels": [{"level", "label",
        "patients", "mutant", "answered", "abstained", "no_tumor", "refused", "accuracy", "auroc",
        "brier", "dice"}]}].
    """
    rows = list(trials)
    blocks = []
    for name in dict.fromkeys(row.degradation for row in rows):
        own = [row for row in rows if row.degradation == name]
        levels = sorted({(row.level, row.label) for row in own})
        blocks.append(
            {
                "degradation": name,
                "unit": own[0].unit,
                "levels": [
                    _level([row for row in own if (row.level, row.label) == level], settings)
                    for level in levels
                ],
            }
        )
    content = {**about, "settings": settings.model_dump(mode="json"), "degradations": blocks}
    result = without_nan(content)
    write_json(out / "robustness.json", result)
    write_records(out / "robustness.csv", Trial, (without_nan(asdict(row)) for row in rows))
    write_text(out / "robustness.md", robustness_markdown(result))
    return result


def _level(rows: list[Trial], settings: EvaluateSettings) -> dict[str, Any]:
    order = sorted(rows, key=lambda row: row.patient_id)
    status = np.array([row.status for row in order])
    answers = ModelPredictions(
        patient_id=np.array([row.patient_id for row in order]),
        idh=np.array([row.idh for row in order]),
        probability=np.array([row.probability for row in order], dtype=float),
        uncertainty=None,
        abstained=status == Status.ABSTAIN.value,
        slice_patient=np.zeros(0, dtype=int),
        slice_probability=np.zeros(0),
        unknown=0,
    )
    block = patient_block(answers, settings)
    auroc = block["auroc"]
    return {
        "level": order[0].level,
        "label": order[0].label,
        "patients": len(order),
        "mutant": block["mutant"],
        "answered": int(answers.answered.sum()),
        "abstained": block["abstained"],
        "no_tumor": int((status == Status.NO_TUMOR.value).sum()),
        "refused": int((status == "").sum()),
        "accuracy": {"value": block["accuracy"], **block["accuracy_ci"]},
        "auroc": {
            "value": auroc["value"],
            "low": auroc["delong_low"],
            "high": auroc["delong_high"],
        },
        "brier": block["brier"],
        "dice": summary(np.array([row.dice for row in order], dtype=float)),
    }


HEADINGS = ("level", "patients", "AUROC", "accuracy", "Dice", "abstained", "no tumour", "refused")


def cells_of(level: dict[str, Any]) -> list[str]:
    """One level as text, in the order of HEADINGS."""
    return [
        level["label"],
        str(level["patients"]),
        area(level["auroc"]),
        area(level["accuracy"]),
        mean_sd(level["dice"]),
        *(str(level[key]) for key in ("abstained", "no_tumor", "refused")),
    ]


def robustness_markdown(result: dict[str, Any]) -> str:
    """A table for each degradation."""
    parts = []
    for block in result["degradations"]:
        parts.append(f"| {block['degradation']} | " + " | ".join(HEADINGS[1:]) + " |")
        parts.append("|---|" + "---:|" * (len(HEADINGS) - 1))
        parts += [f"| {' | '.join(cells_of(level))} |" for level in block["levels"]]
        parts.append("")
    return "\n".join(parts)


def render_tables(result: dict[str, Any]) -> RenderableType:
    """The result of `evaluate_robustness` for a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table

    tables: list[RenderableType] = []
    for block in result["degradations"]:
        table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        table.add_column(block["degradation"])
        for heading in HEADINGS[1:]:
            table.add_column(heading, justify="right")
        for level in block["levels"]:
            table.add_row(*cells_of(level))
        tables.append(table)
    return Group(*tables)
