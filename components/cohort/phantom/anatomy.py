"""A head: MNI152's tissue maps, warped for one patient, with skull, scalp and eyes around them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from components.cohort.phantom.parameters import PhantomParameters
from components.core.imaging.grid import Grid

HEAD_MM = (200.0, 240.0, 220.0)
"""Field of the rendered head along x, y, z in mm; the neck is cut, as a scanner's field cuts it."""

WARP_MM = 4.0
"""Largest displacement of the smooth warp that makes one brain differ from the next."""

_FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_EYES_LPS = ((-33.0, -52.0, -38.0), (33.0, -52.0, -38.0))
_EYE_RADIUS_MM = 12.5


@dataclass(frozen=True)
class Tissues:
    """Fractions of tissue per voxel, float32 (z, y, x) on `grid`, plus the brain's own mask.

    `detail` is the MNI T1's fine structure, around 1 inside the brain.
    """

    grid: Grid
    grey: np.ndarray
    white: np.ndarray
    csf: np.ndarray
    scalp: np.ndarray
    bone: np.ndarray
    eyes: np.ndarray
    detail: np.ndarray
    brain: np.ndarray


@dataclass(frozen=True)
class TissueMaps:
    """MNI152's maps on a head's grid, float32 (z, y, x); `brain` is bool.

    `grey` and `white` go on outside the brain; `detail` is the T1's fine structure, around 1.
    """

    grey: np.ndarray
    white: np.ndarray
    csf: np.ndarray
    detail: np.ndarray
    brain: np.ndarray


def warped_maps(grid: Grid, transform: sitk.Transform) -> TissueMaps:
    """MNI152's maps on `grid`.

    Args:
        transform: from the grid's LPS mm to MNI152's.
    """
    reference = grid.image(np.zeros(grid.shape, np.uint8))

    def warped(name: str) -> np.ndarray:
        moved = sitk.Resample(tissue_map(name), reference, transform, sitk.sitkLinear, 0.0)
        return sitk.GetArrayFromImage(moved)

    t1, grey, white = warped("t1"), warped("gm"), warped("wm")
    brain = ndimage.binary_fill_holes(ndimage.binary_opening(t1 > 0.15))
    csf = np.where(brain, np.clip(1.0 - grey - white, 0.0, 1.0), 0.0).astype(np.float32)
    expected = 0.62 * grey + 0.9 * white + 0.25 * csf
    detail = np.where(brain, np.clip(t1 / np.maximum(expected, 0.1), 0.85, 1.15), 1.0)
    return TissueMaps(grey, white, csf, detail.astype(np.float32), brain)


@cache
def tissue_map(name: str) -> sitk.Image:
    spec = find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise RuntimeError("nilearn is not installed: its package carries the MNI152 maps")
    folder = Path(spec.origin).parent / "datasets" / "data"
    image = sitk.ReadImage(str(folder / _FILE.format(name)), sitk.sitkFloat32)
    array = sitk.GetArrayFromImage(image)
    scaled = sitk.GetImageFromArray(array / array.max())
    scaled.CopyInformation(image)
    return scaled


def head_grid(resolution_mm: float) -> Grid:
    """LPS-aligned grid that holds a head; the brain's middle is near its middle."""
    size = tuple(round(length / resolution_mm) for length in HEAD_MM)
    centre = (0.0, 18.0, 2.0)
    origin = tuple(c - (n - 1) / 2 * resolution_mm for c, n in zip(centre, size, strict=True))
    return Grid.make(size, origin, (resolution_mm,) * 3)


def warp_of(draw: PhantomParameters, grid: Grid) -> sitk.Transform:
    """Transform from a patient's LPS mm to MNI's LPS mm: scaling, then a smooth displacement."""
    rng = np.random.default_rng([draw.seed, 1])
    size = (14, 16, 15)
    lengths = np.array(grid.size) * np.array(grid.spacing)
    coarse = Grid.make(size, grid.origin, lengths / (np.array(size) - 1))
    field = np.stack(
        [ndimage.gaussian_filter(rng.normal(size=coarse.shape), 1.6) for _ in range(3)], axis=-1
    )
    field *= WARP_MM / np.abs(field).max()
    image = sitk.GetImageFromArray(field.astype(np.float64), isVector=True)
    image.SetOrigin(coarse.origin)
    image.SetSpacing(coarse.spacing)
    scaling = sitk.AffineTransform(3)
    scaling.Scale(draw.scale)
    return sitk.CompositeTransform([scaling, sitk.DisplacementFieldTransform(image)])


def render_anatomy(draw: PhantomParameters, resolution_mm: float) -> Tissues:
    """Tissue fractions of one patient's head (no tumour yet)."""
    grid = head_grid(resolution_mm)
    warp = warp_of(draw, grid)
    maps = warped_maps(grid, warp)
    brain = maps.brain
    subarachnoid, bone, scalp = _shells(brain, grid)
    eyes = _eyes(draw, grid) & ~brain
    return Tissues(
        grid=grid,
        grey=np.where(brain, maps.grey, 0.0),
        white=np.where(brain, maps.white, 0.0),
        csf=maps.csf + subarachnoid,
        scalp=(scalp & ~eyes).astype(np.float32),
        bone=(bone & ~eyes).astype(np.float32),
        eyes=eyes.astype(np.float32),
        detail=maps.detail,
        brain=brain,
    )


def _shells(brain: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CSF outside the brain (float), bone and scalp (bool): shells by distance from the brain."""
    # The head closes below the brain: a face and neck are imitated by letting the shells be thick.
    distance = ndimage.distance_transform_edt(~brain, sampling=grid.spacing[::-1])
    z = (np.arange(grid.shape[0]) * grid.spacing[2] + grid.origin[2])[:, None, None]
    thick = 1.0 + np.clip((-30.0 - z) / 25.0, 0.0, 2.0)
    gap = (distance > 0) & (distance <= 2.5)
    bone = (distance > 2.5) & (distance <= 2.5 + 5.0 * thick)
    scalp = (distance > 2.5 + 5.0 * thick) & (distance <= 2.5 + 10.0 * thick)
    return gap.astype(np.float32), bone, scalp


def _eyes(draw: PhantomParameters, grid: Grid) -> np.ndarray:
    z, y, x = np.meshgrid(
        *(
            np.arange(n) * s + o
            for n, s, o in zip(grid.size[::-1], grid.spacing[::-1], grid.origin[::-1], strict=True)
        ),
        indexing="ij",
        sparse=True,
    )
    found = np.zeros(grid.shape, bool)
    for eye in _EYES_LPS:
        cx, cy, cz = (c / s for c, s in zip(eye, draw.scale, strict=True))
        found |= (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 < _EYE_RADIUS_MM**2
    return found
