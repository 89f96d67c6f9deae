"""The last millimetres of a brain mask, by a random walk (Grady, 2006) across the evidence.

What lies well inside a rough mask is brain, what lies well outside is not. A voxel of the band
between belongs to what a walker that begins there, and shuns steps between brain-like and other
brightness, is likelier to meet first.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.segmentation import random_walker

_INWARD_MM, _OUTWARD_MM = 4.0, 8.0
"""Width of the band on both sides of the rough edge. Tumour at the cortex is unlike brain, so that
deep in the mask the evidence is not to be trusted."""

_SMOOTH_MM = 1.0
_SHUN = 8.0
"""How strongly a walker shuns a step across the evidence (scikit-image's `beta`)."""

_BRIDGE_MM = 4.0
"""Bridges thinner than twice this (to an orbit, along a vessel) are cut, sulci are closed."""

_INSIDE, _OUTSIDE, _FAR = 1, 2, -1
"""scikit-image's labels: seeds of both kinds (0 is unknown), and what no walker enters."""


def follow_edge(evidence: np.ndarray, rough: np.ndarray, mm: float) -> np.ndarray:
    """Move the edge of a rough brain mask to where the evidence changes.

    Args:
        evidence: float32 (z, y, x), above 0 where a voxel is as bright as brain, below elsewhere.
        rough: bool (z, y, x), at most 4 mm too wide or 8 mm too narrow.
        mm: side of the isotropic voxels.

    Returns:
        bool (z, y, x), one piece without holes; `rough` where it is too small to hold a seed.
    """
    # A brain that the field of view cuts goes on beyond it: the cut is no edge.
    padded = np.pad(rough, 1, mode="edge")
    depth = ndimage.distance_transform_edt(padded, sampling=mm)[1:-1, 1:-1, 1:-1]
    height = ndimage.distance_transform_edt(~rough, sampling=mm)
    labels = np.zeros(rough.shape, np.int8)
    labels[depth > _INWARD_MM] = _INSIDE
    labels[height > _OUTWARD_MM] = _OUTSIDE
    labels[(depth > _INWARD_MM + 2 * mm) | (height > _OUTWARD_MM + 2 * mm)] = _FAR
    if not ((labels == _INSIDE).any() and (labels == _OUTSIDE).any()):
        return rough
    smooth = ndimage.gaussian_filter(evidence, _SMOOTH_MM / mm)
    walked = random_walker(smooth, labels, beta=_SHUN, mode="cg_j", tol=1e-4)
    return _one_piece((walked == _INSIDE) | (depth > _INWARD_MM), max(1, round(_BRIDGE_MM / mm)))


def _one_piece(mask: np.ndarray, radius: int) -> np.ndarray:
    """The largest piece after thin bridges are cut, its furrows and holes closed."""
    padded = np.pad(mask, radius, mode="edge")
    pieces, count = ndimage.label(ndimage.binary_opening(padded, iterations=radius))
    if not count:
        return mask
    largest = 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    closed = ndimage.binary_closing(pieces == largest, iterations=radius)
    inner = (slice(radius, -radius),) * 3
    return np.asarray(ndimage.binary_fill_holes(closed[inner]), bool)
