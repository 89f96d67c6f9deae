"""Loci features: how much of the tumour lies in each of nine brain regions, in MNI152."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from components.core.errors import BadInput
from components.core.imaging.grid import Grid
from components.core.vocabulary import REGIONS
from components.preprocess.atlas.regions import Atlas


def loci_features(
    mask: np.ndarray, grid: Grid, to_mni: np.ndarray, atlas: Atlas
) -> dict[str, float]:
    """Percent of the tumour in each region: region name -> 0 to 100 (method.md, numeric features).

    Each tumour voxel is taken to MNI152 and looked up: in a label atlas the label of the nearest
    voxel counts; of probability maps the mean over the mask is taken, trilinearly interpolated, as
    the authors do. What falls outside the atlas counts as no region, so that the nine values add
    up to 100 at most (for labels).

    Args:
        mask: bool (z, y, x) on `grid`.
        grid: the mask's grid, in the T1C's LPS space.
        to_mni: 4x4 matrix, LPS mm in the T1C's space -> LPS mm in MNI152.
        atlas: nine regions in MNI152.

    Raises:
        BadInput: an empty mask.
    """
    index = np.argwhere(mask)[:, ::-1]
    if not len(index):
        raise BadInput("tumour mask", "it is empty", "give a mask of the tumour, non-zero inside")
    chain = np.linalg.inv(atlas.grid.affine) @ np.asarray(to_mni, dtype=float) @ grid.affine
    places = (index @ chain[:3, :3].T + chain[:3, 3])[:, ::-1].T
    shares = _of_labels(atlas.labels, places)
    if atlas.probabilities is not None:
        shares = _of_probabilities(atlas.probabilities, places)
    return {region: 100.0 * float(share) for region, share in zip(REGIONS, shares, strict=True)}


def _of_labels(labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Share of the places [z y x, n], in voxels of the atlas, that carry each label."""
    voxels = np.rint(places).astype(int)
    shape = np.array(labels.shape)[:, None]
    inside = ((voxels >= 0) & (voxels < shape)).all(axis=0)
    found = labels[tuple(voxels[:, inside])]
    counts = np.bincount(found, minlength=len(REGIONS) + 1)
    return counts[1 : len(REGIONS) + 1] / places.shape[1]


def _of_probabilities(maps: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.array([ndimage.map_coordinates(m, places, order=1).mean() for m in maps])
