"""Commands that measure preprocessing, the segmenter and serving on this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pipelines.cli.terminal import Commands, Json, console, print_json, progress_bar

if TYPE_CHECKING:
    import numpy as np


def bench_preprocess(
    manifest: Annotated[
        str, typer.Argument(help="Cohort manifest; for phantoms the errors are known.")
    ],
    profile: Annotated[
        str, typer.Option(help="Profile whose preprocessing is measured.")
    ] = "paper",
    patients: Annotated[int, typer.Option(min=1, help="Number of patients, the first ones.")] = 5,
    n4: Annotated[bool, typer.Option("--n4", help="Compare with the authors' N4.")] = False,
    ants: Annotated[
        bool, typer.Option("--ants", help="Compare with ANTsPy (pip install antspyx).")
    ] = False,
    as_json: Json = False,
) -> None:
    """CPU seconds of every stage on one core, and errors where the truth is known."""
    from components.cohort.manifest import read_manifest
    from components.preprocess.bench.patient import Measurement, bench_patient, truth_beside
    from components.preprocess.plan import make_plan
    from pipelines.profile import load_profile

    plan = make_plan(load_profile(profile).preprocess)
    chosen = read_manifest(manifest)[:patients]
    rows: list[Measurement] = []
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

    from components.core.device import processor_name

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
    profile: Annotated[str, typer.Option(help="Profile whose segmenter is measured.")] = "paper",
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
    table = Table("what", "value", "unit", title=f"{rows[0]['hardware']}: {rows[0]['settings']}")
    for row in rows:
        table.add_row(row["what"], f"{row['value']:.4g}", row["unit"])
    console.print(table)


class Benched(StrEnum):
    """Benches of `glioflow bench`."""

    ENSEMBLE = "ensemble"
    NETWORKS = "networks"
    LAYOUTS = "layouts"
    LOAD = "load"
    TRANSPORT = "transport"
    IMAGES = "images"


def bench(
    run: Annotated[Path, typer.Option(help="Folder of a run.")] = Path("runs/demo"),
    what: Annotated[
        Benched,
        typer.Option(
            help="ensemble: against its parts in this process; networks: what runs the segmenter; "
            "layouts: threads and copies of it; load: rates up to four times what it can do; "
            "transport: images sent, or in shared memory; images: image files, by part."
        ),
    ] = Benched.ENSEMBLE,
    requests: Annotated[int, typer.Option(min=2, help="Answers timed in each row.")] = 12,
    seconds: Annotated[float, typer.Option(min=1, help="Duration of each request rate.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Measure the release of a run on this machine."""
    repository = run / "repository"
    with console.status("preparing patients, then asking"):
        rows = _benched(what, run, repository, requests, seconds)
    print_json(rows) if as_json else console.print(_bench_table(what, rows))


def _benched(
    what: Benched, run: Path, repository: Path, requests: int, seconds: float
) -> list[dict[str, Any]]:
    from components.core.device import cores
    from serving.bench.ensemble import bench_ensemble
    from serving.bench.layouts import bench_layouts
    from serving.bench.load import bench_load
    from serving.bench.networks import bench_networks
    from serving.bench.transport import bench_transport
    from serving.triton.server import LocalServer

    if what is Benched.IMAGES:
        from serving.bench.images import bench_images

        return bench_images(repository, *_bench_files(run, repository), requests=requests)
    patients = _bench_patients(run, repository, count=3 if what is Benched.LOAD else 1)
    if what is Benched.ENSEMBLE:
        return bench_ensemble(repository, patients[0], requests=requests)
    if what is Benched.TRANSPORT:
        return bench_transport(repository, patients[0], requests=requests)
    if what is Benched.LAYOUTS:
        return bench_layouts(repository, patients[0], requests=requests)
    if what is Benched.NETWORKS:
        segmenter = run / "segmenter"
        return [
            row
            for threads in range(1, cores() + 1)
            for row in bench_networks(
                repository, segmenter, patients[0], threads=threads, rounds=requests
            )
        ]
    with LocalServer(repository) as server:
        return bench_load(server, patients, seconds=seconds)


def _bench_patients(run: Path, repository: Path, count: int) -> list[dict[str, np.ndarray]]:
    """The last patients of a run, as inputs of its release."""
    from components.cohort.manifest import read_manifest
    from components.preprocess.cohort import prepare_patient
    from components.release.inference.request import request_tensors
    from components.release.integrity.verification import verify_release

    contents = verify_release(repository).contents
    rows = read_manifest(run / "validated" / "accepted.csv")[-count:]
    cases = [
        prepare_patient(row, contents.plan, subset="bench", fold=None, cache=None) for row in rows
    ]
    return [request_tensors(case, contents) for case in cases]


def _bench_files(run: Path, repository: Path) -> tuple[dict[str, bytes], float]:
    """The image files and the age of a run's last patient."""
    from components.cohort.manifest import read_manifest
    from components.core.s3 import local_copy
    from components.release.integrity.verification import verify_release

    row = read_manifest(run / "validated" / "accepted.csv")[-1]
    sequences = verify_release(repository).contents.plan.sequences
    paths = {sequence.value: row.path_of(sequence) for sequence in sequences}
    files = {name: local_copy(path).read_bytes() for name, path in paths.items() if path}
    return files, float(row.age or 0.0)


def _bench_table(what: Benched, rows: list[dict[str, Any]]) -> Table:
    from components.core.device import cores, processor_name

    table = Table(title=f"{what.value}; {processor_name()}, {cores()} cores")
    for name in rows[0]:
        words = isinstance(rows[0][name], str)
        table.add_column(name.replace("_", " "), justify="left" if words else "right")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    return table


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2g}" if isinstance(value, float) and abs(value) < 0.01 else str(value)


COMMANDS: Commands = {"Measure": (bench_preprocess, bench_segment, bench)}
