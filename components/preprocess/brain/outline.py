"""The outline of the MNI152 brain, held to the edge of a patient's brain.

Along the normal of each outline point, evidence for brain against not-brain is summed inside and
outside; the best split is the edge there. Robust fits of a similarity, then an affine transform
bring the outline to these edges; what is left is followed by a smooth offset, and by a random walk.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.spatial import cKDTree

from components.core.imaging.grid import Grid
from components.preprocess.brain.edge import follow_edge
from components.preprocess.brain.head import crown, distance_mm
from components.preprocess.registration.resampling import isotropic, resample_to
from components.preprocess.registration.template import load_template

_POINTS = 3000
_MM = 2.0
_SEED = 0

_SIMILARITY_REACH_MM = (20, 18, 16, 14, 12, 12, 10)
_SETTLE_REACH_MM = (12, 10)
_AFFINE_REACH_MM = (10, 10, 8, 8)
_LAST_REACH_MM = (8, 8)
"""How far along the normal the edge is sought, round by round, from the first fit to the last."""

_WINDOW_MM = 12
_OFFSET_REACH_MM = 8
_OFFSET_SMOOTH_MM = 6.0
_BINS = 160
_RARE = 6e-4
"""Share of a bin below which the histograms say little."""

_CROWN = np.array([0.0, 20.0, 90.0])
"""Top of the scalp above the MNI152 brain, LPS mm."""

_PITCHES = tuple(np.deg2rad([-24.0, -12.0, 0.0, 12.0, 24.0]))
_HEIGHTS = (1.0, 0.87, 0.75, 1.2)
"""Heights of the starts, in that of the template: some headers give slices a wrong spacing."""

_LEAN = 0.05
"""Contrast that a pitch of 20 degrees must be worth; one of 40, four times that."""

_SCOUTS = 5
"""Starts are compared by every fifth point."""

_CLEAR = 1.0
"""Contrast beyond which no other height is tried."""

_DARK, _BRIGHT, _RAMP = 0.85, 1.15, 0.3
"""Brightness, in medians of the brain, beyond which tissue is less and less like brain."""


@dataclass(frozen=True)
class Outline:
    """Edge of the MNI152 brain.

    Attributes:
        distance: (z, y, x) on `grid`, signed, mm, negative inside.
        grid: 2 mm voxels.
        points: (n, 3) LPS mm on the edge.
        normals: (n, 3) outward unit normals.
    """

    distance: np.ndarray
    grid: Grid
    points: np.ndarray
    normals: np.ndarray


@cache
def mni_outline() -> Outline:
    """The outline, computed once a process; which points are kept is seeded."""
    mask = load_template().mask
    small = sitk.ConstantPad(
        resample_to(mask, isotropic(mask, _MM), nearest=True), [8] * 3, [8] * 3
    )
    grid = Grid.of(small)
    distance = sitk.GetArrayFromImage(
        sitk.SmoothingRecursiveGaussian(grid.image(distance_mm(small)), 2.5)
    )
    slope = np.stack(np.gradient(distance, _MM), axis=-1)
    edge = np.argwhere(np.abs(distance) < _MM / 2)
    edge = edge[np.random.default_rng(_SEED).permutation(len(edge))[:_POINTS]]
    normals = slope[tuple(edge.T)]
    length = np.linalg.norm(normals, axis=1)
    edge, normals = edge[length > 0.5], (normals / length[:, None])[length > 0.5]
    normals = normals[:, ::-1]
    points = np.asarray(grid.origin) + edge[:, ::-1] * _MM
    points = points - normals * distance[tuple(edge.T)][:, None]
    return Outline(distance, grid, points, normals)


@dataclass(frozen=True)
class _Head:
    """A T1C at isotropic voxels: brightness, its bins between low and high, its place in space."""

    values: np.ndarray
    bins: np.ndarray
    low: float
    high: float
    grid: Grid

    @classmethod
    def of(cls, t1c: sitk.Image) -> _Head:
        """Bin the brightness once: every evidence is then one look-up."""
        values = sitk.GetArrayFromImage(t1c)
        low, high = (float(bound) for bound in np.percentile(values, (2, 99.5)))
        scaled = (values - low) * (_BINS / max(high - low, 1e-6))
        return cls(values, np.clip(scaled, 0, _BINS - 1).astype(np.uint8), low, high, Grid.of(t1c))

    def sample(self, volume: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Trilinear values of `volume` at LPS points (..., 3); NaN outside the field of view."""
        inverse = np.linalg.inv(self.grid.affine)
        index = points.reshape(-1, 3) @ inverse[:3, :3].T + inverse[:3, 3]
        found = map_coordinates(
            volume, index[:, ::-1].T, order=1, mode="constant", cval=np.nan, prefilter=False
        )
        return found.reshape(points.shape[:-1])


@dataclass(frozen=True)
class BrainFit:
    """The outline as it lies in a patient's head.

    Attributes:
        matrix: affine 4x4, MNI152 LPS mm -> T1C LPS mm.
        mask: uint8 on the grid of the T1C that was fitted.
        contrast: mean evidence across the outline, 0 to 2; real heads reach 0.7 and more.
    """

    matrix: np.ndarray
    mask: sitk.Image
    contrast: float


def fit_outline(t1c: sitk.Image) -> BrainFit:
    """Fit the outline of the MNI152 brain to a head, from its crown on.

    Args:
        t1c: float32, isotropic, LPS axial, whole head.

    Raises:
        BadInput: no head in the image.
    """
    head = _Head.of(t1c)
    matrix = _fit(head, _best_start(head, crown(t1c)), (), _LAST_REACH_MM, step=1)
    evidence = _evidence(head, matrix, learn=True)
    rough = _offset_mask(head, matrix, evidence)
    mask = follow_edge(evidence, rough, head.grid.spacing[0])
    return BrainFit(matrix, head.grid.image(mask.astype(np.uint8)), _contrast(head, matrix))


def _best_start(head: _Head, top: np.ndarray) -> np.ndarray:
    """4x4: of all starts, the one that a quick fit leaves with the clearest contrast.

    Args:
        top: crown of the head, LPS mm.
    """
    best, score = np.eye(4), -np.inf
    for height in _HEIGHTS:
        for pitch in _PITCHES:
            matrix = _pose(top, pitch, height)
            matrix = _fit(head, matrix, _SIMILARITY_REACH_MM, (), step=_SCOUTS)
            matrix = _fit(head, matrix, _SETTLE_REACH_MM, _AFFINE_REACH_MM, step=_SCOUTS)
            lean = np.arctan2(matrix[2, 1], matrix[2, 2]) / np.deg2rad(20.0)
            found = _contrast(head, matrix) - _LEAN * float(lean) ** 2
            if found > score:
                best, score = matrix, found
        if score > _CLEAR:
            break
    return best


def _pose(top: np.ndarray, pitch: float, height: float) -> np.ndarray:
    """4x4 that puts the crown of the MNI152 head at `top`, pitched, and so many times as tall."""
    lower = np.diag([1.0, 1.0, height, 1.0])
    lower[:3, 3] = _CROWN - lower[:3, :3] @ _CROWN
    pose = np.eye(4)
    cosine, sine = np.cos(pitch), np.sin(pitch)
    pose[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]
    # The head turns about the middle of the brain, which stays below the crown.
    middle = np.array([0.0, 20.0, 0.0])
    pose[:3, 3] = top - _CROWN + middle - pose[:3, :3] @ middle
    return pose @ lower


def _fit(
    head: _Head,
    matrix: np.ndarray,
    similarity: tuple[int, ...],
    affine: tuple[int, ...],
    *,
    step: int,
) -> np.ndarray:
    for index, reach in enumerate(similarity + affine):
        evidence = _evidence(head, matrix, learn=bool(affine), step=step)
        points, normals = _placed(matrix, step)
        shift, weight = _edges(head, evidence, points, normals, reach, _WINDOW_MM)
        if index < len(similarity):
            scale = float(np.cbrt(np.linalg.det(matrix[:3, :3])))
            matrix = _similarity_step(points, normals, shift, weight, scale) @ matrix
        else:
            matrix = _affine_step(points, normals, shift, weight) @ matrix
    return matrix


def _placed(matrix: np.ndarray, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Every `step`-th point of the outline and its normal, after a 4x4 transform."""
    outline = mni_outline()
    normals = outline.normals[::step] @ np.linalg.inv(matrix[:3, :3])
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    return outline.points[::step] @ matrix[:3, :3].T + matrix[:3, 3], normals


def _contrast(head: _Head, matrix: np.ndarray) -> float:
    """Mean evidence for brain within 12 mm inside the outline, and against it outside."""
    points, normals = _placed(matrix)
    evidence = _evidence(head, matrix, learn=False)
    offsets = np.arange(-_WINDOW_MM, _WINDOW_MM + 1, dtype=float)
    found = head.sample(evidence, points[:, None] + offsets[None, :, None] * normals[:, None])
    signed = np.where(offsets < 0, found, -found)
    return float(np.nanmean(signed)) if np.isfinite(signed).any() else 0.0


def _evidence(head: _Head, matrix: np.ndarray, *, learn: bool, step: int = 1) -> np.ndarray:
    """float32 (z, y, x) in -2..2: log likelihood ratio of brain against not-brain.

    By brightness relative to the brain's median; with `learn`, averaged with what the histograms
    inside and outside the present outline say.
    """
    points, normals = _placed(matrix, step)
    middle = points.mean(axis=0)
    inner = np.concatenate([middle + (points - middle) * part for part in (0.3, 0.5, 0.7, 0.8)])
    found = head.sample(head.values, inner)
    brain = float(np.nanmedian(found)) if np.isfinite(found).any() else head.high
    # Brightness of each bin's middle, relative to the brain's median.
    relative = (
        (np.arange(_BINS) + 0.5) / _BINS * (head.high - head.low) / max(brain - head.low, 1e-6)
    )
    dark = np.clip((_DARK - relative) / _RAMP, 0, 1)
    bright = np.clip((relative - _BRIGHT) / _RAMP, 0, 1)
    table = 2.0 - 4.0 * np.maximum(dark, bright)
    if learn:
        inside = _histogram(head, points, normals, -np.arange(5.0, 30.0, 2.0))
        outside = _histogram(head, points, normals, np.arange(4.0, 17.0))
        ratio = np.clip(np.log((inside + _RARE) / (outside + _RARE)), -2, 2)
        table = (table + ratio) / 2
    return table.astype(np.float32)[head.bins]


def _histogram(
    head: _Head, points: np.ndarray, normals: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    inverse = np.linalg.inv(head.grid.affine)
    places = (points[:, None] + offsets[None, :, None] * normals[:, None]).reshape(-1, 3)
    index = np.rint(places @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)[:, ::-1]
    index = index[((index >= 0) & (index < head.bins.shape)).all(axis=1)]
    count = np.bincount(head.bins[tuple(index.T)], minlength=_BINS).astype(float)
    count = gaussian_filter1d(count, 3.0) + 1e-9
    return count / count.sum()


def _edges(
    head: _Head,
    evidence: np.ndarray,
    points: np.ndarray,
    normals: np.ndarray,
    reach: int,
    window: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance (mm, outward) from each point to the edge along its normal, and its weight.

    The weight is 0 where there is no brain inside or something like brain outside.
    """
    offsets = np.arange(-reach - window, reach + window + 1, dtype=float)
    profile = head.sample(evidence, points[:, None] + offsets[None, :, None] * normals[:, None])
    unseen = np.isnan(profile)
    total = np.cumsum(np.where(unseen, 0.0, profile), axis=1)
    total = np.concatenate([np.zeros((len(points), 1)), total], axis=1)
    place = np.arange(window, window + 2 * reach + 1)
    inside = total[:, place] - total[:, place - window]
    outside = total[:, place + window] - total[:, place]
    shift = offsets[place]
    score = (inside - outside) / (2 * window) - 0.1 * (shift / reach) ** 2
    score[unseen[:, place]] = -9.0
    best = score.argmax(axis=1)
    rows = np.arange(len(points))
    weight = np.clip(score[rows, best], 0, 1)
    weight *= (inside[rows, best] > 0) & (outside[rows, best] < 0)
    weight = np.where((best == 0) | (best == len(shift) - 1), 0.3 * weight, weight)
    return shift[best], weight


def _robust(
    design: np.ndarray, shift: np.ndarray, weight: np.ndarray, ridge: np.ndarray, pull: np.ndarray
) -> np.ndarray:
    """Least squares with Huber weights; `ridge` draws the solution to 0, `pull` is its gradient."""
    current = weight
    total = max(float(weight.sum()), 1e-6)
    solution = np.zeros(design.shape[1])
    for _ in range(6):
        normal = design.T @ (design * current[:, None]) + np.diag(ridge * total)
        solution = np.linalg.solve(normal, design.T @ (current * shift) + pull * total)
        residual = np.abs(shift - design @ solution)
        scale = max(1.5 * float(np.median(residual)), 1.0)
        current = weight * np.minimum(1.0, scale / np.maximum(residual, 1e-6))
    return solution


_ARM_MM = 70.0
"""Scales turns and stretches to displacements at the outline, for the ridges."""


def _similarity_step(
    points: np.ndarray, normals: np.ndarray, shift: np.ndarray, weight: np.ndarray, scale: float
) -> np.ndarray:
    """4x4 that moves the points along their normals by `shift`, the total scale drawn to 1."""
    centre = points.mean(axis=0)
    arm = (points - centre) / _ARM_MM
    along = (normals * arm).sum(axis=1, keepdims=True)
    design = np.concatenate([normals, np.cross(arm, normals), along], axis=1)
    ridge = np.array([0.01] * 6 + [0.3])
    pull = np.array([0.0] * 6 + [-0.3 * _ARM_MM * np.log(scale)])
    step = _robust(design, shift, weight, ridge, pull)
    a, b, c = step[3:6] / _ARM_MM
    left, _, right = np.linalg.svd(np.eye(3) + np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]]))
    return _about(centre, (left @ right) * (1 + step[6] / _ARM_MM), step[:3])


def _affine_step(
    points: np.ndarray, normals: np.ndarray, shift: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    centre = points.mean(axis=0)
    arm = (points - centre) / _ARM_MM
    design = np.concatenate([normals] + [normals * arm[:, [axis]] for axis in range(3)], axis=1)
    ridge = np.array([0.002] * 3 + [0.02] * 9)
    step = _robust(design, shift, weight, ridge, np.zeros(12))
    return _about(centre, np.eye(3) + step[3:].reshape(3, 3).T / _ARM_MM, step[:3])


def _about(centre: np.ndarray, linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = centre + shift - linear @ centre
    return matrix


def _offset_mask(head: _Head, matrix: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """bool (z, y, x): the placed outline, moved by a smooth offset to the edges that are left."""
    points, normals = _placed(matrix)
    shift, weight = _edges(head, evidence, points, normals, _OFFSET_REACH_MM, _OFFSET_REACH_MM)
    tree = cKDTree(points)
    apart, near = tree.query(points, k=40)
    alike = np.einsum("ij,ikj->ik", normals, normals[near]) > 0.3
    offset = np.zeros(len(points))
    for _ in range(2):
        share = np.exp(-0.5 * (apart / _OFFSET_SMOOTH_MM) ** 2) * weight[near] * alike
        offset = (share * shift[near]).sum(axis=1) / (share.sum(axis=1) + 0.3)
        weight = weight * np.exp(-0.5 * ((shift - offset) / 4.0) ** 2)
    outline = mni_outline()
    image = outline.grid.image(outline.distance)
    image = resample_to(image, head.grid, np.linalg.inv(matrix), outside=99.0)
    distance = sitk.GetArrayFromImage(image) * np.cbrt(np.linalg.det(matrix[:3, :3]))
    band = np.argwhere(np.abs(distance) < _OFFSET_REACH_MM + 2)
    places = band[:, ::-1] @ head.grid.affine[:3, :3].T + head.grid.affine[:3, 3]
    apart, near = tree.query(places, k=6)
    share = 1.0 / (apart + 1.0) ** 2
    distance[tuple(band.T)] -= (share * offset[near]).sum(axis=1) / share.sum(axis=1)
    return np.asarray(distance < 0)
