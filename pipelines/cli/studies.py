"""Commands that study a finished run: ablations, robustness, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal import Commands, Json, console, print_json, progress_bar

RunOption = Annotated[Path, typer.Option("--run", help="Folder of a finished run.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Folder to write to; inside the run unless given.")
]


def ablate(
    run: RunOption,
    out: OutOption = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this ablation; repeatable.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of each stage, for a quick look.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Networks per ablation, for a quick look.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Retrain with inputs removed (slices, sequences, tissue, features)."""
    from components.evaluate.studies.ablations import ablations_table
    from pipelines.studies import finished_run as studies

    with progress_bar("ablate") as progress:
        result = studies.ablate(
            run, out, only=tuple(only or ()), epochs=epochs, seeds=seeds, progress=progress
        )
    if as_json:
        print_json(result)
        return
    console.print(ablations_table(result))
    _tell(run, out or run / studies.ABLATIONS, "ablations")


def robustness(
    run: RunOption,
    out: OutOption = None,
    site: Annotated[str, typer.Option(help="Phantom site: severance, snuh or tcia.")] = "snuh",
    patients: Annotated[int, typer.Option(min=4, help="Phantoms; half are mutant.")] = 20,
    seed: Annotated[int, typer.Option(help="Same seed, same phantoms.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    as_json: Json = False,
) -> None:
    """Test the release on phantoms with thicker slices, more noise, a sequence missing."""
    from components.evaluate.studies.robustness import render_tables
    from pipelines.studies import finished_run as studies

    with progress_bar("robustness") as progress:
        result = studies.robustness(
            run, out, site=site, patients=patients, seed=seed, workers=workers, progress=progress
        )
    if as_json:
        print_json(result)
        return
    console.print(render_tables(result))
    _tell(run, out or run / studies.ROBUSTNESS, "robustness")


def report(run: RunOption, out: OutOption = None) -> None:
    """Write the report again, with the ablations and robustness results of the run."""
    from pipelines.studies import finished_run as studies

    with progress_bar("report") as progress:
        path = studies.report(run, out, progress=progress)
    console.print(f"wrote {path}")


def _tell(run: Path, out: Path, name: str) -> None:
    console.print(f"  {out}/{name}.json  .csv  .md", highlight=False)
    console.print(f"  glioflow report --run {run} shows them with the rest", highlight=False)


COMMANDS: Commands = {"Evaluate": (ablate, robustness, report)}
