"""Commands that judge: predictions, cohorts beside each other, segmentations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal import Json, console, print_json, progress_bar


def add_to(app: typer.Typer) -> None:
    """Add this module's commands to the application."""
    app.command()(evaluate)
    app.command("compare-cohorts")(compare_cohorts)
    app.command("evaluate-segmentation")(evaluate_segmentation)


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="CSV: patient_id, idh, probability[, slice].")
    ],
    against: Annotated[
        Path | None, typer.Option(help="Another model on the same patients.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Accuracy, AUROC, AUPRC and their intervals; with --against, the paired tests."""
    from components.evaluate.settings import EvaluateSettings
    from components.evaluate.statistics import evaluate_table, render_table

    result = evaluate_table(predictions, against, EvaluateSettings())
    print_json(result) if as_json else console.print(render_table(result))


def compare_cohorts(
    manifests: Annotated[
        list[Path], typer.Argument(help="Two or more manifests; the first is the reference.")
    ],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print as Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Table 1: age, sex, IDH and grade of cohorts beside each other, with P-values."""
    from components.evaluate.cohorts import compare_manifests, render_markdown

    result = compare_manifests(manifests)
    if as_json:
        print_json(result)
        return
    text = render_markdown(result)
    if markdown:
        typer.echo(text)
        return
    from rich.markdown import Markdown

    console.print(Markdown(text))


def evaluate_segmentation(
    segmenter: Annotated[Path, typer.Option(help="A trained segmenter's folder.")],
    prepared: Annotated[Path, typer.Option(help="A prepared set with manual masks.")],
    as_json: Json = False,
) -> None:
    """Dice of a trained segmenter on prepared patients."""
    from components.segment.evaluate import evaluate_segmenter

    with progress_bar("segment") as progress:
        result = evaluate_segmenter(segmenter, prepared, progress=progress)
    print_json(result) if as_json else console.print(result)
