"""A tumour inside a head: where it is, and what each part of it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from components.cohort.phantom.anatomy import Tissues, warp_of
from components.cohort.phantom.parameters import PhantomParameters

BORDER_MM = 7.0
"""Length over which the border's irregularity varies."""


@dataclass(frozen=True)
class Lesion:
    """Parts of a tumour, float32 fractions (z, y, x) that add up to `whole`.

    `whole` is what FLAIR shows as hyperintense: the paper's ground truth is `whole` > 0.5.
    """

    whole: np.ndarray
    edema: np.ndarray
    solid: np.ndarray
    rim: np.ndarray
    necrosis: np.ndarray


def render_tumor(draw: PhantomParameters, tissues: Tissues) -> Lesion:
    """Grow the drawn tumour; it stays inside the brain and out of the ventricles."""
    depth = _depth(draw, tissues)
    spacing = tissues.grid.spacing[0]
    soft = 0.5 * spacing / float(np.mean(draw.tumor.radii))
    ventricle = ndimage.gaussian_filter(tissues.csf, 2.0 / spacing) > 0.8
    room = ndimage.gaussian_filter((tissues.brain & ~ventricle).astype(np.float32), 0.5)

    def inside(level: float) -> np.ndarray:
        return (np.clip((level - depth) / soft * 0.5 + 0.5, 0.0, 1.0) * room).astype(np.float32)

    whole, core, dead = inside(1.0), inside(draw.tumor.core), inside(draw.tumor.necrosis)
    if draw.tumor.necrosis == 0.0:
        dead = np.zeros_like(whole)
    width = 4.0 / float(np.mean(draw.tumor.radii))
    if draw.tumor.enhancement > 0.0:
        hull = inside(max(draw.tumor.necrosis, 0.15) + width)
        rim = np.clip(np.minimum(hull, core) - dead, 0.0, 1.0)
    else:
        rim = np.zeros_like(whole)
    solid = np.clip(core - dead - rim, 0.0, 1.0)
    return Lesion(whole, np.clip(whole - core, 0.0, 1.0), solid, rim, dead)


def _depth(draw: PhantomParameters, tissues: Tissues) -> np.ndarray:
    """Distance from the middle in units of the border's radius: below 1 is tumour."""
    tumor, grid = draw.tumor, tissues.grid
    centre = _centre(draw, tissues)
    axes = [
        np.arange(n) * s + o - c
        for n, s, o, c in zip(grid.size, grid.spacing, grid.origin, centre, strict=True)
    ]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
    points = np.stack([x, y, z]).reshape(3, -1).astype(np.float32)
    scaled = (_rotation(tumor.rotation).T / np.array(tumor.radii)[:, None]).astype(np.float32)
    radius = np.linalg.norm(scaled @ points, axis=0).reshape(grid.shape)
    rng = np.random.default_rng([draw.seed, 2])
    noise = ndimage.gaussian_filter(
        rng.standard_normal(grid.shape, dtype=np.float32), BORDER_MM / grid.spacing[0]
    )
    noise /= noise.std()
    # Tumours stop at grey matter's folds and grow along white matter, as gliomas do.
    return radius + tumor.roughness * noise * 0.8 - 0.12 * tissues.white + 0.1 * tissues.csf


def _centre(draw: PhantomParameters, tissues: Tissues) -> np.ndarray:
    """LPS mm of the white-matter voxel nearest to the drawn place, in the patient's own space."""
    grid = tissues.grid
    wanted = np.array(draw.tumor.centre) * (-1.0, -1.0, 1.0)
    inside = ndimage.binary_erosion(tissues.brain, iterations=max(1, int(6 / grid.spacing[0])))
    z, y, x = np.nonzero(inside & (tissues.white > 0.6))
    places = np.stack([x, y, z], axis=1) * np.array(grid.spacing) + np.array(grid.origin)
    to_mni = warp_of(draw, grid)
    target = np.array(to_mni.TransformPoint(tuple(wanted)))
    # First order is enough: the warp is a few millimetres and the tumour's place is drawn anyway.
    return places[np.argmin(np.linalg.norm(places - (2 * wanted - target), axis=1))]


def _rotation(angles: tuple[float, float, float]) -> np.ndarray:
    a, b, c = angles
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
