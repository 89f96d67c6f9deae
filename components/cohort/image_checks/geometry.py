"""Where the head and the slices of one image lie: plain numbers, judged elsewhere."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

HEAD_SHARE = 0.2
"""Voxels brighter than this share of the 95th percentile (of those above zero) are head."""
AIR_SHARE = 0.05
"""Voxels no brighter than this share of the bright tissue are air, or what was stripped off."""
FULL_FRAME = 0.2
"""Share of zeros on the border up to which an image has a noisy background all around."""


def slice_axis(image: sitk.Image) -> int:
    """Axis (0 x, 1 y, 2 z) along which slices were acquired: the coarsest, then the shortest."""
    spacing, size = image.GetSpacing(), image.GetSize()
    return max(range(3), key=lambda axis: (round(spacing[axis], 3), -size[axis]))


def slices_first(array: np.ndarray, axis: int) -> np.ndarray:
    """View of an array (z, y, x) with the slices along axis 0; `axis`: 0 x, 1 y, 2 z."""
    return np.moveaxis(array, 2 - axis, 0)


def missing_slices(stack: np.ndarray) -> float:
    """Share of slices (axis 0) that hold a single value."""
    return float((np.ptp(stack, axis=(1, 2)) == 0).mean())


def _bright(stack: np.ndarray) -> float:
    """95th percentile of the values above zero, on a raster; infinite where none is."""
    sample = stack[::2, ::4, ::4]
    positive = sample[sample > 0]
    return float(np.percentile(positive, 95)) if positive.size else float("inf")


def cut_head(stack: np.ndarray) -> float:
    """Largest share of the four in-plane faces of a stack that is head: it goes on beyond them."""
    limit = HEAD_SHARE * _bright(stack)
    faces = (stack[:, 0], stack[:, -1], stack[:, :, 0], stack[:, :, -1])
    return max(float((face > limit).mean()) for face in faces)


def _corners(stack: np.ndarray) -> list[np.ndarray]:
    side = max(3, min(stack.shape[1:]) // 16)
    ends = (slice(None, side), slice(-side, None))
    return [stack[:, rows, columns] for rows in ends for columns in ends]


def background(stack: np.ndarray) -> float:
    """Median of the brightest of the four in-plane corners, as a share of the bright tissue."""
    return max(float(np.median(corner)) for corner in _corners(stack)) / _bright(stack)


def glare(stack: np.ndarray) -> float:
    """Brightest half percent of the middle third of a head, in medians of the tissue there."""
    slices, rows, columns = (slice(n // part, n - n // part) for n, part in
                             zip(stack.shape, (5, 3, 3), strict=True))  # fmt: skip
    middle = stack[slices, rows, columns]
    tissue = middle[middle > HEAD_SHARE * _bright(stack)]
    return float(np.percentile(middle, 99.5) / np.median(tissue)) if tissue.size else 0.0


def empty_corners(stack: np.ndarray) -> float:
    """How far the four in-plane corners differ in their share of exact zeros.

    A turned image that was resampled has wedges of zeros in some corners and noise elsewhere; 0
    where the whole background is zero.
    """
    frame = np.concatenate([face.ravel() for face in (stack[:, :, :3], stack[:, :, -3:])])
    if (frame == 0).mean() > FULL_FRAME:
        return 0.0
    shares = [float((corner == 0).mean()) for corner in _corners(stack)]
    return max(shares) - min(shares)


def tilt(image: sitk.Image) -> float:
    """Largest angle in degrees between an axis of the image and the nearest axis of the body."""
    cosines = np.abs(np.reshape(image.GetDirection(), (3, 3))).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines.min(), 0.0, 1.0))))


def inside(image: sitk.Image, positions: np.ndarray) -> np.ndarray:
    """Which positions (n, 3; LPS mm) lie in the image's box; bool (n,)."""
    inverse = np.linalg.inv(np.reshape(image.GetDirection(), (3, 3)))
    index = ((positions - np.array(image.GetOrigin())) @ inverse.T) / image.GetSpacing()
    return ((index > -0.5) & (index < np.array(image.GetSize()) - 0.5)).all(axis=1)


def positions_of(image: sitk.Image, index: np.ndarray) -> np.ndarray:
    """LPS mm of voxel indices (n, 3; x, y, z)."""
    direction = np.reshape(image.GetDirection(), (3, 3))
    return (index * image.GetSpacing()) @ direction.T + image.GetOrigin()


def overlap(image: sitk.Image, reference: sitk.Image) -> float:
    """Share of a raster of the reference's points that lie inside the image."""
    axes = [np.linspace(0, n - 1, 9) for n in reference.GetSize()]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return float(inside(image, positions_of(reference, points)).mean())


def drawn_inside(mask: sitk.Image, reference: sitk.Image) -> float:
    """Share of a mask's voxels above zero that lie in the reference's box; 1 for an empty mask."""
    index = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)[:, ::-1]
    return float(inside(reference, positions_of(mask, index)).mean()) if len(index) else 1.0


def drawn_in_head(mask: sitk.Image, reference: sitk.Image) -> float:
    """Share of a mask's voxels in the reference's box that are no air there; 1 where none is."""
    index = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)[:, ::-1]
    places = positions_of(mask, index)
    places = places[inside(reference, places)]
    if not len(places):
        return 1.0
    inverse = np.linalg.inv(np.reshape(reference.GetDirection(), (3, 3)))
    found = (places - np.array(reference.GetOrigin())) @ inverse.T / reference.GetSpacing()
    x, y, z = np.clip(np.rint(found).astype(int), 0, np.array(reference.GetSize()) - 1).T
    values = sitk.GetArrayViewFromImage(reference)
    darkest = min(0.0, float(values.min()))
    return float((values[z, y, x] - darkest > AIR_SHARE * (_bright(values - darkest))).mean())
