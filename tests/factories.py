"""Synthetic prepared cases: an ellipsoid brain with an ellipsoid tumour, bright on FLAIR."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from components.cohort.prepared import PreparedCase, write_case
from components.core.imaging.grid import Grid
from components.core.vocabulary import Idh, Origin, Sequence, Sex

ALL_SEQUENCES = (Sequence.T1C, Sequence.T2, Sequence.FLAIR)
BOX_MM = 160.0
"""Side of the cubic box that both the network grid and the working grid fill."""

CONTRAST = {Sequence.T1C: -0.8, Sequence.T2: 1.8, Sequence.FLAIR: 2.2}
"""Tumour brightness in SDs of the brain, before the volume is standardised again."""


def box_grid(voxels: int) -> Grid:
    """A cubic grid of `voxels` a side that fills the box centred on the origin."""
    spacing = BOX_MM / voxels
    start = -BOX_MM / 2 + spacing / 2
    return Grid((voxels,) * 3, (start,) * 3, (spacing,) * 3)


def ellipsoid(grid: Grid, centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """bool (z, y, x): voxels of `grid` in an ellipsoid; centre and radii in mm along x, y, z."""
    index = np.indices(grid.shape)[::-1].astype(float)
    offset = np.asarray(grid.origin)[:, None, None, None] - centre[:, None, None, None]
    position = index * np.asarray(grid.spacing)[:, None, None, None] + offset
    return ((position / radii[:, None, None, None]) ** 2).sum(axis=0) <= 1.0


def make_prepared_case(
    seed: int,
    *,
    patient_id: str | None = None,
    subset: str = "training",
    fold: int | None = None,
    voxels: int = 24,
    working_voxels: int = 40,
    sequences: tuple[Sequence, ...] = ALL_SEQUENCES,
    noise: float = 0.3,
    contrast: float = 1.0,
    tumor: bool = True,
    origin: Origin = Origin.PHANTOMS,
) -> PreparedCase:
    """One case, a function of `seed` alone. `contrast` scales how bright the tumour is.

    The grid is cubic with `voxels` a side, the working grid fills the same box; `tumor=False` gives
    a case without manual masks and without a tumour in its images.
    """
    rng = np.random.default_rng(seed)
    grid, working = box_grid(voxels), box_grid(working_voxels)
    brain = ellipsoid(grid, np.zeros(3), np.array([66.0, 74.0, 62.0]))
    mutant = int(rng.integers(2))
    direction = rng.normal(size=3)
    centre = direction / np.linalg.norm(direction) * rng.uniform(10.0, 32.0)
    radii = rng.uniform(14.0, 26.0, size=3)
    mask = ellipsoid(grid, centre, radii) & brain
    volumes = np.stack(
        [_volume(rng, brain, mask if tumor else None, CONTRAST[s] * contrast, noise)
         for s in sequences]
    )  # fmt: skip
    on_working = ellipsoid(working, centre, radii)
    return PreparedCase(
        patient_id=patient_id or f"case-{seed:03d}",
        site="synthetic",
        subset=subset,
        fold=fold,
        age=float(np.clip(round(rng.normal(40.0 if mutant else 58.0, 8.0), 1), 18, 90)),
        sex=Sex.FEMALE if rng.integers(2) else Sex.MALE,
        idh=Idh(mutant),
        grade=2 if mutant else 4,
        codeletion=int(bool(mutant) and bool(rng.integers(2))),
        origin=origin,
        sequences=sequences,
        volumes=volumes.astype(np.float16),
        brain=brain,
        tumor=mask if tumor else None,
        tumor_working=on_working if tumor else None,
        grid=grid,
        working=working,
        native=working,
        to_mni=np.eye(4),
        plan_digest="0" * 64,
        quality={"brain_ml": float(brain.sum() * grid.voxel_ml)},
    )


def _volume(
    rng: np.random.Generator,
    brain: np.ndarray,
    mask: np.ndarray | None,
    contrast: float,
    noise: float,
) -> np.ndarray:
    volume = rng.normal(0.0, noise, size=brain.shape)
    volume += np.linspace(-0.3, 0.3, brain.shape[0])[:, None, None]
    if mask is not None:
        volume[mask] += contrast
    inside = volume[brain]
    return np.where(brain, (volume - inside.mean()) / inside.std(), 0.0)


def write_prepared_set(folder: Path, cases: list[PreparedCase]) -> Path:
    """Write `cases` as a prepared set; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        write_case(folder, case)
    return folder


def make_prepared_set(folder: Path, patients: int, *, folds: int = 1, **options: object) -> Path:
    """A prepared set of `patients` cases with seeds 0, 1, ...

    With `folds` > 1 every case is training with fold = index modulo folds; otherwise the last
    quarter (at least one) is tuning.
    """
    held_out = max(patients // 4, 1)
    cases = []
    for seed in range(patients):
        case = make_prepared_case(seed, **options)  # type: ignore[arg-type]
        if folds > 1:
            case = replace(case, fold=seed % folds)
        elif seed >= patients - held_out:
            case = replace(case, subset="tuning")
        cases.append(case)
    return write_prepared_set(folder, cases)
