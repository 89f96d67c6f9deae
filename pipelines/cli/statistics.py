"""Commands for statistics: predictions, cohorts, segmentations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal import Commands, Json, console, print_json, progress_bar


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="CSV: patient_id, idh, probability[, slice].")
    ],
    against: Annotated[
        Path | None, typer.Option(help="Another model on the same patients; may lack idh.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model, if the file holds several.")] = "",
    test_set: Annotated[
        str, typer.Option("--set", help="Test set, if the file holds several.")
    ] = "",
    against_column: Annotated[
        str, typer.Option(help="Column of the other file's probabilities.")
    ] = "probability",
    shared: Annotated[
        bool, typer.Option("--shared", help="Compare only the patients in both files.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Accuracy, AUROC, AUPRC and their intervals; with --against, the paired tests."""
    from components.evaluate.predictions_file import (
        PredictionFilter,
        evaluate_table,
        statistics_table,
    )
    from components.evaluate.settings import EvaluateSettings

    choice = PredictionFilter(model, test_set, other_column=against_column, shared=shared)
    result = evaluate_table(predictions, against, EvaluateSettings(), choice)
    print_json(result) if as_json else console.print(statistics_table(result))


def compare_cohorts(
    manifests: Annotated[
        list[Path], typer.Argument(help="Two or more manifests; the first is the reference.")
    ],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print as Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Table 1: age, sex, IDH and grade by cohort, with P-values."""
    from components.evaluate.statistics.table_one import cohorts_markdown, compare_manifests

    result = compare_manifests(manifests)
    if as_json:
        print_json(result)
        return
    text = cohorts_markdown(result)
    if markdown:
        typer.echo(text)
        return
    from rich.markdown import Markdown

    console.print(Markdown(text))


def numbers(
    train: Annotated[str, typer.Option(help="Manifest of the training centre.")],
    test: Annotated[
        list[str], typer.Option(metavar="NAME=MANIFEST", help="A test centre; repeatable.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    train_shape: Annotated[
        Path | None, typer.Option(help="pyradiomics' shape features of --train, CSV with an ID.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Test how age and mask shape transfer between centres, without images or networks."""
    from components.classify.comparators.feature_tables import read_numbers, study_numbers
    from components.evaluate.evaluate import evaluate_predictions
    from components.evaluate.settings import EvaluateSettings
    from pipelines.cli.runs import named

    with progress_bar("numbers") as progress:
        learnt = read_numbers("training", train, train_shape, progress=progress)
        others = [read_numbers(k, v, progress=progress) for k, v in named(test, "--test").items()]
        predictions = study_numbers(learnt, others, out, progress=progress)
        result = evaluate_predictions(predictions, None, EvaluateSettings(), out)
    if as_json:
        print_json(result["sets"])
        return
    for name, block in result["sets"].items():
        for model in (m for m in result["models"] if m in block):
            found = block[model]
            area = found["auroc"]
            line = (
                f"{name:<14}{model:<16}{found['patients']:>5} patients ({found['mutant']} mutant)"
            )
            limits = f"AUROC {area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f})"
            console.print(f"{line:<58}{limits}", highlight=False)
    console.print(f"  {out}/report.html  {out}/evaluation.json  {predictions}", highlight=False)


def evaluate_segmentation(
    segmenter: Annotated[Path, typer.Option(help="A trained segmenter's folder.")],
    prepared: Annotated[Path, typer.Option(help="A prepared set with manual masks.")],
    as_json: Json = False,
) -> None:
    """Dice of a trained segmenter on prepared patients."""
    from components.segment.evaluation.evaluate import evaluate_segmenter

    with progress_bar("segment") as progress:
        result = evaluate_segmenter(segmenter, prepared, progress=progress)
    print_json(result) if as_json else console.print(result)


COMMANDS: Commands = {"Evaluate": (evaluate, compare_cohorts, numbers, evaluate_segmentation)}
