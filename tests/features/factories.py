"""A synthetic atlas and a segmenter folder for the tests of this room."""

from __future__ import annotations

import numpy as np

from components.core.imaging.grid import Grid
from components.core.vocabulary import REGIONS
from components.preprocess.atlas.regions import Atlas


def make_atlas(*, probabilities: bool = False) -> Atlas:
    """Nine slabs along z, 10 mm each, from -45 mm on; 100 mm wide; 2-mm voxels."""
    grid = Grid((50, 50, 45), (-49.0, -49.0, -44.0), (2.0, 2.0, 2.0))
    slab = np.arange(45) // 5 + 1
    labels = np.broadcast_to(slab[:, None, None], grid.shape).astype(np.uint8)
    maps = None
    if probabilities:
        maps = np.stack([0.5 * (labels == i + 1) for i in range(len(REGIONS))]).astype(np.float32)
    return Atlas(labels, grid, "synthetic", "none", "0" * 64, maps)
