"""The volumes that the page carries: cropped to the brain, in 255 grey values, compressed."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.core.errors import BadInput
from components.core.imaging.grid import Grid, resample, working_grid
from components.core.vocabulary import REGIONS, SEQUENCE_TITLES
from components.features.feature_slice import mask_on_network
from serving.report.figure import shown_slices
from serving.report.panels import WINDOW
from serving.report.result import PatientResult

Z_RANGE = (-4.0, 8.0)
"""z-scores of the darkest and the brightest grey value; those beyond are drawn as these."""

STEP = (Z_RANGE[1] - Z_RANGE[0]) / 254.0
"""z-scores from one grey value to the next."""

RIM = 2
"""Voxels kept around the brain."""

MAX_CHARACTERS = 4_300_000
"""Of the volumes on the page, which with NiiVue and the static part stays below 8 MB."""

COARSER = 1.25
"""Factor of a voxel's side from one attempt to stay below MAX_CHARACTERS to the next."""


@dataclass(frozen=True)
class _Scene:
    """Arrays (z, y, x) on one grid: z-scores of each sequence, and masks as labels."""

    grid: Grid
    volumes: list[np.ndarray]
    brain: np.ndarray
    mask: np.ndarray


def viewer_volumes(result: PatientResult) -> dict[str, Any]:
    """What viewer.js reads, as JSON; volumes are NIfTI (uint8, gzip, base64).

    Returns:
        sequences: [{name, nifti}] of z-scores, of which the lowest value lies outside the brain;
        mask: NIfTI, 1 inside the tumour; regions: {names, nifti} with names[i] labelled i + 1, or
        None where the release's atlas is not at hand; window: z-scores shown black and white;
        centre: RAS mm where the crosshair starts; voxel_mm: longest side of a voxel.
    """
    scene, centre = _cropped(result), _centre(result)
    while True:
        content = _content(scene, result)
        if _characters(content) <= MAX_CHARACTERS:
            break
        scene = _coarser(scene)
    return {
        **content,
        "window": list(WINDOW),
        "centre": centre,
        "voxel_mm": max(scene.grid.spacing),
    }


def _cropped(result: PatientResult) -> _Scene:
    case = result.case
    filled = np.argwhere(case.brain) if case.brain.any() else np.argwhere(case.brain | True)
    low = np.maximum(filled.min(axis=0) - RIM, 0)
    high = np.minimum(filled.max(axis=0) + 1 + RIM, case.brain.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    origin = case.grid.affine[:3, :3] @ low[::-1] + case.grid.affine[:3, 3]
    grid = Grid.make((high - low)[::-1], origin, case.grid.spacing, case.grid.direction)
    mask = mask_on_network(result.answer.mask, case.grid, case.working)
    volumes = [case.volume(sequence)[box] for sequence in case.sequences]
    return _Scene(grid, volumes, case.brain[box], mask[box])


def _coarser(scene: _Scene) -> _Scene:
    grid = working_grid(scene.grid, COARSER * max(scene.grid.spacing))
    return _Scene(
        grid,
        [resample(volume, scene.grid, grid) for volume in scene.volumes],
        resample(scene.brain.astype(np.uint8), scene.grid, grid, nearest=True) > 0,
        resample(scene.mask.astype(np.uint8), scene.grid, grid, nearest=True) > 0,
    )


def _content(scene: _Scene, result: PatientResult) -> dict[str, Any]:
    labels = _regions(scene, result)
    named = zip(result.case.sequences, scene.volumes, strict=True)
    return {
        "sequences": [
            {
                "name": SEQUENCE_TITLES[sequence],
                "nifti": _nifti(_grey(volume, scene.brain), scene.grid, STEP, Z_RANGE[0] - STEP),
            }
            for sequence, volume in named
        ],
        "mask": _nifti(scene.mask.astype(np.uint8), scene.grid),
        "regions": labels
        if labels is None
        else {"names": list(REGIONS), "nifti": _nifti(labels, scene.grid)},
    }


def _characters(content: dict[str, Any]) -> int:
    regions = content["regions"]
    return (
        sum(len(one["nifti"]) for one in content["sequences"])
        + len(content["mask"])
        + (len(regions["nifti"]) if regions else 0)
    )


def _grey(volume: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """uint8: 0 outside the brain, 1 to 255 for Z_RANGE inside."""
    values = np.rint((np.clip(volume, *Z_RANGE) - Z_RANGE[0]) / STEP) + 1
    return np.where(brain, values, 0).astype(np.uint8)


def _regions(scene: _Scene, result: PatientResult) -> np.ndarray | None:
    """uint8: each voxel's region of the atlas on which the loci features were measured."""
    from scipy.ndimage import affine_transform

    from components.preprocess.atlas.regions import atlas_of

    plan = result.contents.plan
    try:
        atlas = atlas_of(plan.atlas_files)
    except BadInput:
        return None
    if atlas.sha256 != plan.atlas.sha256:
        return None
    # The deformation to MNI152 is affine; ndimage counts z, y, x where the matrices count x, y, z.
    chain = np.linalg.inv(atlas.grid.affine) @ result.case.to_mni @ scene.grid.affine
    found = affine_transform(
        atlas.labels,
        chain[:3, :3][::-1, ::-1],
        chain[:3, 3][::-1],
        output_shape=scene.grid.shape,
        order=0,
    )
    return np.where(scene.brain, found, 0).astype(np.uint8)


def _centre(result: PatientResult) -> list[float]:
    """RAS mm of the middle of the tumour in its largest slice; of the brain where there is none."""
    case = result.case
    mask = mask_on_network(result.answer.mask, case.grid, case.working)
    z = shown_slices(result)[2]
    filled = np.argwhere(mask[z]) if mask[z].any() else np.argwhere(case.brain[z] | True)
    y, x = filled.mean(axis=0)
    place = case.grid.affine @ [x, y, z, 1.0]
    return [round(float(v), 3) for v in (-place[0], -place[1], place[2])]


def _nifti(values: np.ndarray, grid: Grid, slope: float = 1.0, intercept: float = 0.0) -> str:
    """A uint8 array (z, y, x) as NIfTI, gzip, base64; value = slope * stored + intercept."""
    import nibabel

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    image = nibabel.Nifti1Image(values.transpose(2, 1, 0), affine)
    image.header.set_slope_inter(slope, intercept)
    return base64.b64encode(gzip.compress(image.to_bytes(), 9, mtime=0)).decode()
