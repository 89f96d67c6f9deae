"""Commands that measure preprocessing and the segmenter on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli.terminal import Json, console, print_json, progress_bar


def add_to(app: typer.Typer) -> None:
    """Add this module's commands to the application."""
    app.command("bench-preprocess")(bench_preprocess)
    app.command("bench-segment")(bench_segment)


def bench_preprocess(
    manifest: Annotated[str, typer.Argument(help="Cohort manifest; phantoms bring their truth.")],
    profile: Annotated[str, typer.Option(help="Whose preprocessing to measure.")] = "paper",
    patients: Annotated[int, typer.Option(min=1, help="The first so many.")] = 5,
    n4: Annotated[bool, typer.Option("--n4", help="Compare with the authors' N4.")] = False,
    ants: Annotated[
        bool, typer.Option("--ants", help="Compare with ANTsPy (pip install antspyx).")
    ] = False,
    as_json: Json = False,
) -> None:
    """CPU seconds of every stage on one core, and errors where the truth is known."""
    from components.cohort.manifest import read_manifest
    from components.preprocess.bench import Row, bench_patient, truth_beside
    from components.preprocess.plan import make_plan
    from pipelines.profile import load_profile

    plan = make_plan(load_profile(profile).preprocess)
    chosen = read_manifest(manifest)[:patients]
    rows: list[Row] = []
    with progress_bar("bench") as progress:
        for done, patient in enumerate(chosen, start=1):
            rows += bench_patient(patient, plan, truth_beside(patient), n4=n4, ants=ants)
            progress(done, len(chosen), patient.patient_id)
    if as_json:
        print_json([vars(row) for row in rows])
        return
    _print_summary(rows)


def _print_summary(rows: list[Any]) -> None:
    import numpy as np
    from rich.table import Table

    from components.hardware import processor_name

    table = Table(
        "what", "median", "worst 5 %", "worst", "unit", title=f"one core of {processor_name()}"
    )
    for what in dict.fromkeys(row.what for row in rows):
        values = [row.value for row in rows if row.what == what]
        unit = next(row.unit for row in rows if row.what == what)
        shares = (50, 5, 0) if unit in ("Dice", "times") else (50, 95, 100)
        table.add_row(what, *(f"{np.percentile(values, share):.3g}" for share in shares), unit)
    console.print(table)


def bench_segment(
    prepared: Annotated[Path, typer.Argument(help="Folder of prepared development cases.")],
    profile: Annotated[str, typer.Option(help="Whose segmenter to measure.")] = "paper",
    steps: Annotated[int, typer.Option(min=1, help="Timed steps of each row.")] = 10,
    as_json: Json = False,
) -> None:
    """Training and inference of the U-Net against MONAI's DynUNet of equal size."""
    from components.segment.bench import bench_segmenter
    from pipelines.profile import load_profile

    with console.status("measuring"):
        rows = bench_segmenter(prepared, load_profile(profile).segment, steps=steps)
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    table = Table("what", "value", "unit", title=f"{rows[0]['hardware']}: {rows[0]['settings']}")
    for row in rows:
        table.add_row(row["what"], f"{row['value']:.4g}", row["unit"])
    console.print(table)
