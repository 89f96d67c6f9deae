"""A scanner: from tissue fractions to one sequence's image on its own grid, with its faults."""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from components.cohort.phantom.anatomy import Tissues
from components.cohort.phantom.parameters import PhantomParameters, Scan
from components.cohort.phantom.sites import Plane
from components.cohort.phantom.tumor import Lesion
from components.core.imaging.grid import Grid
from components.core.vocabulary import Sequence

SIGNALS = {
    Sequence.T1C: {
        "grey": 0.68,
        "white": 1.0,
        "csf": 0.28,
        "scalp": 1.05,
        "bone": 0.12,
        "eyes": 0.3,
    },
    Sequence.T2: {"grey": 1.3, "white": 1.0, "csf": 2.9, "scalp": 1.2, "bone": 0.15, "eyes": 2.8},
    Sequence.FLAIR: {
        "grey": 1.2,
        "white": 1.0,
        "csf": 0.25,
        "scalp": 1.0,
        "bone": 0.15,
        "eyes": 0.3,
    },
}
"""Signal of each tissue, white matter = 1."""

LESION_SIGNALS = {
    Sequence.T1C: {"edema": 0.78, "solid": 0.66, "necrosis": 0.35},
    Sequence.T2: {"edema": 1.8, "solid": 1.95, "necrosis": 2.6},
    Sequence.FLAIR: {"edema": 1.85, "solid": 1.75, "necrosis": 1.35},
}
"""Signal of each part of a tumour; the rim's, and the solid part's T2 and mismatch, are drawn."""


def motion_of(scan: Scan, centre: tuple[float, float, float]) -> sitk.Euler3DTransform:
    """Rigid transform, T1C-space LPS mm -> LPS mm where the head lay during this sequence."""
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre)
    transform.SetRotation(*scan.rotation)
    transform.SetTranslation(scan.shift)
    return transform


def render_signal(
    draw: PhantomParameters,
    sequence: Sequence,
    tissues: Tissues,
    lesion: Lesion,
    texture: np.ndarray,
) -> np.ndarray:
    """Noise-free signal (z, y, x) on the head's grid, white matter = 1.

    `texture` is `tumor_texture`'s: the same tissue is uneven in the same places on every sequence.
    """
    scan = draw.scans[sequence]
    grey, white, csf, scalp, tumor = np.exp(scan.contrast)
    signal = SIGNALS[sequence]
    healthy = tissues.detail * (
        signal["grey"] * grey * tissues.grey + signal["white"] * white * tissues.white
    )
    healthy += signal["csf"] * csf * tissues.csf
    parts = dict(LESION_SIGNALS[sequence])
    rim = parts["solid"]
    if sequence is Sequence.T1C:
        rim = parts["solid"] + draw.tumor.enhancement * 1.1
    elif sequence is Sequence.T2:
        parts["solid"] = draw.tumor.t2
    else:
        parts["solid"] -= 0.7 * draw.tumor.mismatch
    ill = tumor * (
        parts["edema"] * lesion.edema
        + parts["solid"] * lesion.solid
        + rim * lesion.rim
        + parts["necrosis"] * lesion.necrosis
    )
    outside = (
        signal["scalp"] * scalp * tissues.scalp
        + signal["bone"] * tissues.bone
        + signal["eyes"] * tissues.eyes
    )
    return (healthy * (1.0 - lesion.whole) + ill * texture + outside).astype(np.float32)


def tumor_texture(draw: PhantomParameters, tissues: Tissues) -> np.ndarray:
    """Factor around 1 (z, y, x) by which tumour tissue is uneven."""
    rng = np.random.default_rng([draw.seed, 3])
    noise = ndimage.gaussian_filter(
        rng.standard_normal(tissues.grid.shape, dtype=np.float32), 2.5 / tissues.grid.spacing[0]
    )
    return 1.0 + 0.06 * noise / noise.std()


def scan_grid(scan: Scan, head: Grid) -> Grid:
    """The sequence's own grid: its plane, slice thickness, voxel size, tilt and handedness."""
    in_plane = max(scan.in_plane, head.spacing[0])
    thickness = max(scan.thickness, head.spacing[2])
    lengths = np.array(head.size) * np.array(head.spacing)
    middle = np.array(head.origin) + (np.array(head.size) - 1) / 2 * np.array(head.spacing)
    axes = np.eye(3)
    if scan.plane is Plane.SAGITTAL:
        # Columns: image x runs front to back, image y feet-wards, slices from right to left.
        axes = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    if scan.left_handed:
        axes[:, 0] *= -1
    angle = math.radians(scan.tilt)
    tilt = np.array(
        [
            [1, 0, 0],
            [0, math.cos(angle), -math.sin(angle)],
            [0, math.sin(angle), math.cos(angle)],
        ]
    )
    extent = np.abs(axes.T @ lengths)
    spacing = np.array([in_plane, in_plane, thickness])
    size = np.maximum(np.floor(extent / spacing).astype(int), 4)
    direction = tilt @ axes
    origin = middle - direction @ ((size - 1) / 2 * spacing)
    return Grid.make(size, origin, spacing, direction.ravel())


def acquire(
    draw: PhantomParameters, sequence: Sequence, signal: np.ndarray, head: Grid
) -> sitk.Image:
    """Acquire a signal: motion, slice profile, bias field, Rician noise, scanner units (int16)."""
    scan = draw.scans[sequence]
    grid = scan_grid(scan, head)
    blurred = _slice_profile(signal, head, grid)
    centre = _centre(head)
    # Resampling asks where a point of the moved head came from: the inverse of its motion.
    sampled = sitk.Resample(
        head.image(blurred),
        grid.image(np.zeros(grid.shape, np.uint8)),
        motion_of(scan, centre).GetInverse(),
        sitk.sitkLinear,
        0.0,
    )
    array = sitk.GetArrayFromImage(sampled) * _bias_field(scan, grid, centre)
    rng = np.random.default_rng([draw.seed, 4, list(Sequence).index(sequence)])
    real = array + scan.noise * rng.standard_normal(grid.shape, dtype=np.float32)
    imaginary = scan.noise * rng.standard_normal(grid.shape, dtype=np.float32)
    magnitude = np.sqrt(real**2 + imaginary**2) * scan.gain
    return grid.image(np.clip(np.rint(magnitude), 0, 32767).astype(np.int16))


def on_scan_grid(mask: np.ndarray, scan: Scan, head: Grid) -> sitk.Image:
    """A mask of the head (z, y, x) as uint8 on the sequence's own grid, by half partial volume."""
    grid = scan_grid(scan, head)
    blurred = _slice_profile(mask.astype(np.float32), head, grid)
    sampled = sitk.Resample(
        head.image(blurred),
        grid.image(np.zeros(grid.shape, np.uint8)),
        motion_of(scan, _centre(head)).GetInverse(),
        sitk.sitkLinear,
        0.0,
    )
    return grid.image((sitk.GetArrayFromImage(sampled) > 0.5).astype(np.uint8))


def _slice_profile(signal: np.ndarray, head: Grid, grid: Grid) -> np.ndarray:
    """Average over each acquired voxel's extent, along the head axis nearest to each image axis.

    Voxels at the ends of an even extent count half, so that nothing is shifted.
    """
    direction = np.abs(np.reshape(grid.direction, (3, 3)))
    for image_axis in range(3):
        head_axis = int(np.argmax(direction[:, image_axis]))
        length = round(grid.spacing[image_axis] / head.spacing[head_axis])
        if length > 1:
            weights = np.ones(length) if length % 2 else np.r_[0.5, np.ones(length - 1), 0.5]
            signal = ndimage.correlate1d(signal, weights / length, axis=2 - head_axis)
    return signal


def _centre(head: Grid) -> tuple[float, float, float]:
    middle = np.array(head.origin) + (np.array(head.size) - 1) / 2 * np.array(head.spacing)
    return float(middle[0]), float(middle[1]), float(middle[2])


def _bias_field(scan: Scan, grid: Grid, centre: tuple[float, float, float]) -> np.ndarray:
    z, y, x = (np.arange(n, dtype=np.float32) for n in grid.shape)
    affine = grid.affine
    index = np.meshgrid(z, y, x, indexing="ij", sparse=True)
    position = [
        (
            affine[row, 0] * index[2]
            + affine[row, 1] * index[1]
            + affine[row, 2] * index[0]
            + affine[row, 3]
            - centre[row]
        )
        / 100.0
        for row in range(3)
    ]
    px, py, pz = position
    terms = (px, py, pz, px * py, px * pz, py * pz, px**2, py**2, pz**2)
    return np.exp(sum(c * term for c, term in zip(scan.bias, terms, strict=True))).astype(
        np.float32
    )
