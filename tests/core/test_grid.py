"""Grids: positions, resampling and the working grid, against SimpleITK and known boxes."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from components.core.imaging.grid import Grid, resample, working_grid

numbers = st.floats(-200, 200)
grids = st.builds(
    lambda size, origin, spacing, turn: Grid.make(
        size, origin, spacing, Rotation.from_euler("xyz", turn).as_matrix().ravel()
    ),
    st.tuples(*[st.integers(3, 12)] * 3),
    st.tuples(*[numbers] * 3),
    st.tuples(*[st.floats(0.3, 8.0)] * 3),
    st.tuples(*[st.floats(-3.1, 3.1)] * 3),
)


@settings(max_examples=50)
@given(grids, st.tuples(*[st.floats(0, 10)] * 3))
def test_positions_are_those_of_simpleitk(grid: Grid, index: tuple[float, ...]) -> None:
    image = grid.image(np.zeros(grid.shape, np.uint8))
    ours = (grid.affine @ [*index, 1.0])[:3]
    assert ours == pytest.approx(image.TransformContinuousIndexToPhysicalPoint(index), abs=1e-6)


@settings(max_examples=50)
@given(grids)
def test_a_grid_survives_its_affine_and_its_json(grid: Grid) -> None:
    again = Grid.from_affine(grid.affine, grid.shape)
    assert again.size == grid.size
    assert np.allclose(again.affine, grid.affine)
    assert Grid.from_json(grid.to_json()) == grid


@pytest.mark.parametrize(
    "affine",
    [
        np.zeros((4, 4)),
        np.full((4, 4), np.nan),
        np.eye(3),
        np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    ],
    ids=["zero", "nan", "3x3", "sheared"],
)
def test_an_impossible_affine_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(ValueError, match="affine"):
        Grid.from_affine(affine, (3, 3, 3))


def test_resampling_a_linear_ramp_is_exact() -> None:
    source = Grid.make((20, 22, 24), (0, 0, 0), (1.0, 1.0, 1.0))
    target = Grid.make((9, 9, 9), (3.25, 4.5, 5.75), (1.5, 1.5, 1.5))
    z, y, x = np.indices(source.shape)
    moved = resample(2.0 * x - 3.0 * y + z, source, target)
    k, j, i = np.indices(target.shape)
    position = target.affine @ np.stack([i, j, k, np.ones_like(i)]).reshape(4, -1)
    expected = (2.0 * position[0] - 3.0 * position[1] + position[2]).reshape(target.shape)
    assert moved == pytest.approx(expected, abs=1e-4)


def test_nearest_keeps_type_and_labels() -> None:
    source = Grid.make((8, 8, 8), (0, 0, 0), (1, 1, 1))
    labels = np.random.default_rng(0).integers(0, 9, source.shape).astype(np.uint8)
    moved = resample(labels, source, Grid.make((5, 5, 5), (0, 0, 0), (1.7, 1.7, 1.7)), nearest=True)
    assert moved.dtype == np.uint8
    assert set(np.unique(moved)) <= set(range(9))


@settings(max_examples=50)
@given(grids, st.floats(0.5, 3.0))
def test_the_working_grid_fills_the_same_box(grid: Grid, spacing: float) -> None:
    working = working_grid(grid, spacing)
    assert working.spacing == (spacing,) * 3
    middles = [g.affine @ [*((np.array(g.size) - 1) / 2), 1.0] for g in (grid, working)]
    assert middles[0] == pytest.approx(middles[1], abs=1e-6)
    box = np.array(grid.size) * grid.spacing
    # One voxel at least, else within half a voxel at either end.
    sides = np.array(working.size) * spacing
    assert np.all((np.abs(sides - box) <= spacing / 2 + 1e-6) | (np.array(working.size) == 1))


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        Grid.make((3, 4, 5), (0, 0, 0), (1, 1, 1)).image(np.zeros((3, 4, 5)))
    assert isinstance(
        Grid.make((3, 4, 5), (0, 0, 0), (1, 1, 1)).image(np.zeros((5, 4, 3))), sitk.Image
    )
