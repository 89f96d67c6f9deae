"""The isotropic working grid fills the box of the network grid."""

from __future__ import annotations

import numpy as np

from components.core.imaging.grid import Grid, working_grid


def edges(grid: Grid) -> np.ndarray:
    """LPS positions of the two outermost corners, voxel edges included."""
    index = np.array([[-0.5] * 3, [n - 0.5 for n in grid.size]])
    return index @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def test_fills_the_same_box_with_isotropic_voxels():
    tilt = np.deg2rad(7)
    direction = (1, 0, 0, 0, np.cos(tilt), -np.sin(tilt), 0, np.sin(tilt), np.cos(tilt))
    grid = Grid((64, 64, 64), (-80.0, -90.0, 15.0), (180 / 64, 180 / 64, 150 / 64), direction)
    working = working_grid(grid, 1.0)
    assert working.size == (180, 180, 150)
    assert working.spacing == (1.0, 1.0, 1.0)
    np.testing.assert_allclose(edges(working), edges(grid), atol=1e-9)


def test_a_box_of_no_whole_number_of_voxels_stays_centred():
    grid = Grid((10, 10, 10), (0.0, 0.0, 0.0), (1.13, 1.13, 1.13))
    working = working_grid(grid, 2.0)
    np.testing.assert_allclose(edges(working).mean(axis=0), edges(grid).mean(axis=0), atol=1e-9)
    assert working.size == (6, 6, 6)
