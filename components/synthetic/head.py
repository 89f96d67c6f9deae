"""Heads without a tumour: MNI152's tissue maps, deformed far more widely than a site's phantoms."""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from components.cohort.phantom.anatomy import head_grid, warped_maps
from components.core.imaging.grid import Grid
from components.preprocess.registration.resampling import triple

SPACING_MM = 2.0
"""Voxels in which heads are made, before they go onto the network grid."""

_NODES_MM = 8.0
"""Distance of the displacement field's nodes."""

_VENTRICLES_LPS = ((-15.0, 12.0, 18.0), (15.0, 12.0, 18.0))
_VENTRICLE_REACH_MM = 28.0


@dataclass(frozen=True)
class Push:
    """Tissue moved away from a place: a growing mass, or a widened ventricle.

    Attributes:
        centre: LPS mm, in the head's own space.
        reach: mm over which the displacement falls off.
        strength: share of a voxel's distance from the centre that it has been moved by, next to it.
    """

    centre: tuple[float, float, float]
    reach: float
    strength: float


@dataclass(frozen=True)
class HeadDraw:
    """The random numbers of one head.

    Attributes:
        seed: of the smooth displacements.
        scale: MNI152's size over the head's, along x, y, z.
        turn: radians about x, y, z.
        warp_mm: largest displacement of the coarse and of the fine warp.
        ventricles: by how much the ventricles' surroundings are widened; negative narrows them.
        atrophy: exponent of the share of CSF: below 1 widens the sulci.
    """

    seed: int
    scale: tuple[float, float, float]
    turn: tuple[float, float, float]
    warp_mm: tuple[float, float]
    ventricles: float
    atrophy: float


@dataclass(frozen=True)
class Head:
    """Shares of tissue, float32 (z, y, x) on `grid`; `brain` is bool.

    `detail` is the fine structure of MNI152's T1, around 1 in the brain; `dura` is what lies next
    to the brain under the bone.
    """

    grid: Grid
    grey: np.ndarray
    white: np.ndarray
    csf: np.ndarray
    dura: np.ndarray
    bone: np.ndarray
    scalp: np.ndarray
    detail: np.ndarray
    brain: np.ndarray


def draw_head(rng: np.random.Generator) -> HeadDraw:
    """Draw one head."""
    common = rng.normal(1.10, 0.05)
    return HeadDraw(
        seed=int(rng.integers(2**31)),
        scale=triple(common * np.exp(rng.normal(0.0, 0.03, 3)), float),
        turn=triple(np.deg2rad(rng.normal(0.0, 6.0, 3)), float),
        warp_mm=(float(rng.uniform(2.0, 9.0)), float(rng.uniform(0.0, 2.5))),
        ventricles=float(rng.uniform(-0.15, 0.45)),
        atrophy=float(np.exp(rng.normal(-0.1, 0.25))),
    )


def render_head(draw: HeadDraw, masses: Ordered[Push] = ()) -> Head:
    """The tissues of one head, displaced by its masses."""
    grid = head_grid(SPACING_MM)
    maps = warped_maps(grid, _transform(draw, grid, masses))
    brain, wide = maps.brain, maps.csf**draw.atrophy
    solid = np.where(brain, (1.0 - wide) / np.maximum(maps.grey + maps.white, 1e-3), 0.0)
    distance = ndimage.distance_transform_edt(~brain, sampling=SPACING_MM)
    outside = ~brain
    return Head(
        grid=grid,
        grey=(maps.grey * solid).astype(np.float32),
        white=(maps.white * solid).astype(np.float32),
        csf=(wide + (outside & (distance <= 3.0))).astype(np.float32),
        dura=(outside & (distance > 3.0) & (distance <= 5.0)).astype(np.float32),
        bone=(outside & (distance > 5.0) & (distance <= 10.0)).astype(np.float32),
        scalp=(outside & (distance > 10.0) & (distance <= 18.0)).astype(np.float32),
        detail=maps.detail,
        brain=brain,
    )


def _transform(draw: HeadDraw, grid: Grid, masses: Ordered[Push]) -> sitk.Transform:
    """From the head's LPS mm to MNI152's: displacement, then rotation and scaling."""
    lengths = np.array(grid.size) * np.array(grid.spacing)
    size = np.rint(lengths / _NODES_MM).astype(int)
    nodes = Grid.make(size, grid.origin, lengths / (size - 1))
    rng = np.random.default_rng(draw.seed)
    field = np.zeros((*nodes.shape, 3))
    for smooth, largest in zip((3.0, 1.0), draw.warp_mm, strict=True):
        noise = rng.normal(size=(3, *nodes.shape))
        part = np.stack([ndimage.gaussian_filter(one, smooth) for one in noise], axis=-1)
        field += part * largest / max(np.abs(part).max(), 1e-9)
    wide = draw.ventricles
    ventricles = [Push(centre, _VENTRICLE_REACH_MM, wide) for centre in _VENTRICLES_LPS]
    for push in (*ventricles, *masses):
        field -= _away(push, nodes)
    image = sitk.GetImageFromArray(field, isVector=True)
    image.SetOrigin(nodes.origin)
    image.SetSpacing(nodes.spacing)
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), *draw.turn)
    scaling = sitk.AffineTransform(3)
    scaling.Scale(draw.scale)
    return sitk.CompositeTransform([scaling, turn, sitk.DisplacementFieldTransform(image)])


def _away(push: Push, nodes: Grid) -> np.ndarray:
    """mm [z, y, x, 3] by which the tissue at each node has come from the push's centre."""
    axes = [
        np.arange(n) * s + o - c
        for n, s, o, c in zip(nodes.size, nodes.spacing, nodes.origin, push.centre, strict=True)
    ]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
    offsets = np.stack([x, y, z], axis=-1)
    distance = (offsets**2).sum(axis=-1, keepdims=True)
    return push.strength * offsets * np.exp(-distance / (2.0 * push.reach**2))
