"""A phantom cohort on disk: images, truth, manifest; finished patients are not made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from components.cohort.images import write_image
from components.cohort.manifest import Patient, write_manifest
from components.cohort.phantom.anatomy import render_anatomy
from components.cohort.phantom.parameters import PhantomParameters, draw_cohort
from components.cohort.phantom.scanner import (
    acquire,
    motion_of,
    on_scan_grid,
    render_signal,
    tumor_texture,
)
from components.cohort.phantom.settings import PhantomSettings
from components.cohort.phantom.sites import Site, site_named
from components.cohort.phantom.tumor import render_tumor
from components.core.files import atomic, read_json, write_json
from components.core.progress import Progress
from components.core.vocabulary import DEVELOPMENT, Origin, Sequence, Split

Change = Callable[[PhantomParameters], PhantomParameters]


def make_cohorts(settings: PhantomSettings, out: Path, progress: Progress | None = None) -> Path:
    """Make every cohort of a study below `out`; returns `out`/cohorts.json (name -> manifest)."""
    total = sum(cohort.patients for cohort in settings.cohorts)
    done = 0
    manifests = {}
    for cohort in settings.cohorts:
        before = done

        def report(count: int, _: int, what: str, before: int = before) -> None:
            if progress:
                progress(before + count, total, what)

        manifest = make_cohort(
            site_named(cohort.site),
            cohort.patients,
            settings.seed,
            out / cohort.name,
            settings,
            workers=settings.workers,
            progress=report,
            split=cohort.name == DEVELOPMENT,
            mutant_share=cohort.mutant_share,
        )
        manifests[cohort.name] = manifest.relative_to(out).as_posix()
        done += cohort.patients
    write_json(out / "cohorts.json", manifests)
    return out / "cohorts.json"


def make_cohort(
    site: Site,
    patients: int,
    seed: int,
    out: Path,
    settings: PhantomSettings,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    split: bool = False,
    mutant_share: float | None = None,
    change: Change | None = None,
) -> Path:
    """Make one cohort below `out` and return its manifest.csv.

    A folder a patient: t1c, t2, flair, tumor_mask and brain_mask (both on the T1C's grid), and
    truth.json with the draw and the motions. Same seed, same bytes, whatever the workers.

    Args:
        change: changes a draw before it is rendered: the same patients, another scanner.
    """
    draws = [
        change(draw) if change else draw for draw in draw_cohort(site, patients, seed, mutant_share)
    ]
    splits = split_development(draws, settings.splits, seed) if split else {}
    arguments = [(draw, settings.resolution_mm, out / draw.patient_id) for draw in draws]
    for count, name in enumerate(_each(arguments, workers), start=1):
        if progress:
            progress(count, patients, name)
    manifest = out / "manifest.csv"
    write_manifest(manifest, [_patient(draw, out, splits.get(draw.patient_id)) for draw in draws])
    return manifest


def _each(arguments: list[tuple[PhantomParameters, float, Path]], workers: int) -> Iterable[str]:
    if workers == 1:
        yield from map(_make_patient, arguments)
        return
    # spawn: a forked child would inherit ITK's and BLAS's threads in an unusable state.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_make_patient, item) for item in arguments]):
            yield future.result()


def _make_patient(argument: tuple[PhantomParameters, float, Path]) -> str:
    draw, resolution_mm, folder = argument
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    key = digest_of(draw, resolution_mm)
    truth = folder / "truth.json"
    if not truth.exists() or read_json(truth)["digest"] != key:
        _render(draw, resolution_mm, folder, key)
    return draw.patient_id


def digest_of(draw: PhantomParameters, resolution_mm: float) -> str:
    """sha256 (hex) of everything that decides a patient's bytes."""
    text = json.dumps([asdict(draw), resolution_mm], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _render(draw: PhantomParameters, resolution_mm: float, folder: Path, key: str) -> None:
    tissues = render_anatomy(draw, resolution_mm)
    lesion = render_tumor(draw, tissues)
    texture = tumor_texture(draw, tissues)
    head = tissues.grid
    t1c = draw.scans[Sequence.T1C]
    with atomic(folder) as temporary:
        temporary.mkdir()
        for sequence in Sequence:
            signal = render_signal(draw, sequence, tissues, lesion, texture)
            image = acquire(draw, sequence, signal, head)
            write_image(temporary / f"{sequence.value}.nii.gz", image)
        write_image(temporary / "tumor_mask.nii.gz", on_scan_grid(lesion.whole, t1c, head))
        write_image(temporary / "brain_mask.nii.gz", on_scan_grid(tissues.brain, t1c, head))
        write_json(
            temporary / "truth.json", _truth(draw, key, head.origin, head.size, head.spacing)
        )


def _truth(
    draw: PhantomParameters,
    key: str,
    origin: tuple[float, ...],
    size: tuple[int, ...],
    spacing: tuple[float, ...],
) -> dict[str, object]:
    """The draw, and per sequence the 4x4 matrix T1C-space LPS mm -> that sequence's LPS mm."""
    centre = tuple(
        float(o + (n - 1) / 2 * s) for o, n, s in zip(origin, size, spacing, strict=True)
    )
    motions = {}
    for sequence, scan in draw.scans.items():
        motion = motion_of(scan, centre)  # type: ignore[arg-type]
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(motion.GetMatrix(), (3, 3))
        matrix[:3, 3] = motion.TransformPoint((0.0, 0.0, 0.0))
        motions[sequence.value] = matrix.tolist()
    drawn = json.loads(json.dumps(asdict(draw), default=str))
    scaling = np.diag([*draw.scale, 1.0]).tolist()
    return {"digest": key, "draw": drawn, "motions": motions, "mni_scaling": scaling}


def _patient(draw: PhantomParameters, out: Path, split: Split | None) -> Patient:
    folder = (out / draw.patient_id).resolve()
    return Patient(
        patient_id=draw.patient_id,
        site=draw.site,
        t1c=str(folder / "t1c.nii.gz"),
        t2=str(folder / "t2.nii.gz"),
        flair=str(folder / "flair.nii.gz"),
        tumor_mask=str(folder / "tumor_mask.nii.gz"),
        age=draw.age,
        sex=draw.sex,
        idh=draw.idh,
        grade=draw.grade,
        codeletion=draw.codeletion,
        split=split,
        origin=Origin.PHANTOMS,
    )


def split_development(
    draws: list[PhantomParameters], shares: tuple[float, float, float], seed: int
) -> dict[str, Split]:
    """patient_id -> part, stratified by IDH, exact by rounding; every part gets both classes
    where there are enough patients."""
    rng = np.random.default_rng([seed, 5])
    parts: dict[str, Split] = {}
    for idh in sorted({draw.idh for draw in draws}):
        names = [draw.patient_id for draw in draws if draw.idh == idh]
        order = [names[i] for i in rng.permutation(len(names))]
        edges = np.rint(np.cumsum(np.array(shares) / sum(shares)) * len(order)).astype(int)
        for split, start, end in zip(Split, [0, *edges[:-1]], edges, strict=True):
            parts |= dict.fromkeys(order[start:end], split)
    return parts
