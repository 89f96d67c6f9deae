"""How well a preparation went: numbers, sentences for the outliers, and a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components.cohort.prepared import PreparedCase
from components.core.files import atomic
from components.preprocess.plan import PreprocessingPlan
from components.preprocess.registration.align import Alignment

LEAST_COVERED = 0.9
"""Share of the brain a sequence should show."""

MOST_TURN_DEGREES = 25.0


def motion(alignment: Alignment, centre: np.ndarray) -> tuple[float, float]:
    """Shift of the head's centre in mm, and turn in degrees, of an alignment."""
    matrix = alignment.matrix
    shift = float(np.linalg.norm(matrix[:3, :3] @ centre + matrix[:3, 3] - centre))
    left, _, right = np.linalg.svd(matrix[:3, :3])
    cosine = (np.trace(left @ right) - 1) / 2
    return shift, float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def warnings_of(quality: dict[str, float], plan: PreprocessingPlan) -> tuple[str, ...]:
    """Sentences about what looks wrong in a case's quality numbers."""
    found = []
    for sequence in plan.sequences:
        name = sequence.value
        if quality.get(f"{name}_turn_degrees", 0.0) > MOST_TURN_DEGREES:
            found.append(f"{name} was turned by {quality[f'{name}_turn_degrees']:.0f} degrees")
        if quality[f"{name}_covered"] < LEAST_COVERED:
            share = 100 * quality[f"{name}_covered"]
            found.append(f"{name} shows {share:.0f} % of the brain only")
    if quality.get("t1_over_flair", 0.0) < 0.0:
        found.append("t1c has no more of a T1's contrast than flair: are they swapped?")
    return tuple(found)


def mosaic(case: PreparedCase) -> np.ndarray:
    """uint8 (rows, columns, 3): three planes and two more axial slices of every sequence.

    One row a sequence; brain outlined in red, manual tumour in yellow.
    """
    return np.concatenate([_row(case, index) for index in range(len(case.sequences))])


def _row(case: PreparedCase, channel: int) -> np.ndarray:
    z, y, x = (np.array(case.brain.shape) * 0.5).astype(int)
    n = len(case.brain)
    views = [(0, n // 3), (0, z), (0, 2 * n // 3), (1, y), (2, x)]
    volume = np.asarray(case.volumes[channel], np.float32)
    return np.concatenate([_tile(case, volume, axis, place) for axis, place in views], axis=1)


def _tile(case: PreparedCase, volume: np.ndarray, axis: int, place: int) -> np.ndarray:
    def cut(array: np.ndarray) -> np.ndarray:
        plane = array.take(place, axis)
        return plane if axis == 0 else plane[::-1]

    grey = np.clip((cut(volume) + 3.0) / 6.0, 0, 1) * 255 * (cut(case.brain) | (cut(volume) != 0))
    tile = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    tile[_edge(cut(case.brain))] = (230, 40, 40)
    if case.tumor is not None:
        tile[_edge(cut(case.tumor))] = (240, 220, 40)
    return tile


def _edge(mask: np.ndarray) -> np.ndarray:
    inner = mask.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            inner &= np.roll(mask, step, axis)
    return mask & ~inner


def write_mosaic(path: Path | str, case: PreparedCase) -> None:
    """Write the mosaic of a case as a PNG, at least 600 pixels wide, atomically."""
    from PIL import Image

    picture = mosaic(case)
    factor = max(1, 600 // picture.shape[1])
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    with atomic(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
