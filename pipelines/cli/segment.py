"""Commands of the segmenter that is trained on synthetic patients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal import Commands, Json, console, print_json, progress_bar


def segment(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    t1c: Annotated[Path | None, typer.Option(help="NIfTI file or DICOM series folder.")] = None,
    t2: Annotated[Path | None, typer.Option(help="NIfTI file or DICOM series folder.")] = None,
    flair: Annotated[Path | None, typer.Option(help="NIfTI file or DICOM series folder.")] = None,
    patient_id: Annotated[str, typer.Option(help="Written into the result.")] = "unnamed",
    model: Annotated[
        Path | None, typer.Option(help="Folder written by train-synthetic; default: the shipped.")
    ] = None,
    accept_implausible: Annotated[
        bool,
        typer.Option("--accept-implausible", help="Segment although a plausibility limit fails."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Outline the tumour of one patient by the shipped segmenter; any of the three sequences."""
    from components.core.vocabulary import Sequence
    from components.synthetic.model import SHIPPED, SyntheticSegmenter
    from serving.segmentation import SegmentationFiles, segment_patient

    given = {Sequence.T1C: t1c, Sequence.T2: t2, Sequence.FLAIR: flair}
    files = {sequence: path for sequence, path in given.items() if path is not None}
    with console.status("preparing and segmenting"):
        result = segment_patient(
            SegmentationFiles(files, patient_id),
            out,
            model=SyntheticSegmenter.load(model or SHIPPED),
            accept_implausible=accept_implausible,
        )
    if as_json:
        print_json(result)
        return
    volume, sure = result["tumor_volume_ml"], result["confidence"]
    found = "" if volume is None else f": {volume:.1f} mL, confidence {sure:.2f}"
    reason = result["reason"]["sentence"] if result["reason"] else ""
    console.print(f"{result['status']}{found}{': ' + reason if reason else ''}")
    for warning in result["warnings"]:
        console.print(f"  warning: {warning}", style="yellow")
    written = "segmentation.json" if reason else "segmentation.html, tumor_mask.nii.gz"
    console.print(f"  {out}/{written}", highlight=False, soft_wrap=True)


def train_synthetic(
    out: Annotated[Path, typer.Option("--out", help="Folder to write the segmenter to.")],
    profile: Annotated[str, typer.Option(help="Profile of its plan and training.")] = "synthetic",
) -> None:
    """Train a segmenter on synthetic patients alone; an interrupted training resumes."""
    from components.preprocess.plan import make_plan
    from components.synthetic.train import train_on_synthetic
    from pipelines.profile import load_profile

    chosen = load_profile(profile)
    with progress_bar("steps") as progress:
        train_on_synthetic(chosen.segment, make_plan(chosen.preprocess), out, progress=progress)
    console.print(f"{out}: try it with glioflow segment --model {out}", soft_wrap=True)


COMMANDS: Commands = {"Serve and predict": (segment,), "Run": (train_synthetic,)}
