"""The model card: what a run knows of itself, in the order of the checklists that ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.cohort.vocabulary import Model

DEPLOYER = "*to be filled by the deployer*"


def render_model_card(result: dict[str, Any]) -> str:
    """Markdown of the model card of one evaluation (content of evaluation.json)."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from components.evaluate.cohorts import render_markdown
    from components.evaluate.figures import label_of
    from components.evaluate.report import INPUTS, interval, mean_sd, number, percent

    # Markdown, not HTML: names of patients and sets are checked identifiers.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(
        percent=percent, interval=interval, meansd=mean_sd, number=number, label=label_of
    )
    return environment.get_template("model_card.md.j2").render(
        result=result,
        table_one=render_markdown(result["cohorts"]) if result["cohorts"] else None,
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
