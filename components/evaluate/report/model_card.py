"""The model card: what a run knows of itself, in the order of the checklists that ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.core.html import template
from components.core.vocabulary import Model
from components.evaluate.report.formatting import INPUTS, interval, mean_sd

DEPLOYER = "*to be filled by the deployer*"


def render_model_card(result: dict[str, Any]) -> str:
    """Markdown of the model card of one evaluation (content of evaluation.json)."""
    from components.evaluate.report.canvas import label_of
    from components.evaluate.statistics.table_one import cohorts_markdown

    # Nothing is escaped in Markdown: names of patients and sets are checked identifiers.
    card = template(
        Path(__file__).with_name("model_card.md.j2"),
        interval=interval,
        meansd=mean_sd,
        label=label_of,
    )
    return card.render(
        result=result,
        table_one=cohorts_markdown(result["cohorts"]) if result["cohorts"] else None,
        inputs=INPUTS,
        hybrid=Model.HYBRID.value,
        deployer=DEPLOYER,
        small=[
            f"{name}, {group['attribute']} {group['group']}"
            for name, block in result["subgroups"].items()
            for group in block["groups"]
            if group["too_small"]
        ],
    )
