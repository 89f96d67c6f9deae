"""Shape features against pyradiomics, run as its users run it."""

from __future__ import annotations

import logging
import time

import numpy as np
import pytest
import SimpleITK as sitk

from components.core.errors import BadInput
from components.core.imaging.grid import Grid
from components.core.vocabulary import SHAPE_FEATURES
from components.features.shape import shape_features

TOLERANCE = 1e-6
"""Relative; only the order of the summation differs."""


def grid_of(mask: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Grid:
    z, y, x = mask.shape
    return Grid((x, y, z), (-10.0, 5.0, 3.0), spacing)


def by_pyradiomics(mask: np.ndarray, grid: Grid) -> dict[str, float]:
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    logging.getLogger("radiomics").setLevel(logging.ERROR)
    extractor = RadiomicsFeatureExtractor()
    extractor.disableAllFeatures()
    extractor.enableFeatureClassByName("shape")
    image = grid.image(mask.astype(np.float32))
    result = extractor.execute(image, sitk.Cast(image > 0, sitk.sitkUInt8))
    return {name: float(result[f"original_shape_{name}"]) for name in SHAPE_FEATURES}


def ellipsoid(radii: tuple[float, float, float], ragged: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    index = np.indices((40, 44, 48)).astype(float)
    centre = np.array([18.0, 21.0, 25.0])[:, None, None, None]
    distance = (((index - centre) / np.array(radii)[:, None, None, None]) ** 2).sum(axis=0)
    return distance + ragged * rng.normal(size=distance.shape) < 1.0


MASKS = {
    "smooth": ellipsoid((9, 12, 15), 0.0, 0),
    "ragged": ellipsoid((9, 12, 15), 0.4, 1),
    "scattered": np.random.default_rng(2).random((12, 13, 14)) < 0.3,
    "plane": np.pad(np.ones((1, 5, 7), bool), 2),
    "at the edge": np.pad(np.ones((5, 6, 7), bool), ((0, 3), (0, 3), (0, 3))),
    "two voxels apart": np.eye(9, dtype=bool)[[1, 7]][:, None, :].repeat(2, 1),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 0.8, 3.0)])
def test_equals_pyradiomics(name: str, spacing: tuple[float, float, float]) -> None:
    mask = MASKS[name]
    grid = grid_of(mask, spacing)
    expected = by_pyradiomics(mask, grid)
    found = shape_features(mask, grid)
    assert tuple(found) == SHAPE_FEATURES
    for feature, value in expected.items():
        # A planar mask's least axis is zero up to pyradiomics' rounding errors.
        assert found[feature] == pytest.approx(value, rel=TOLERANCE, abs=1e-6), feature


def test_where_the_mask_lies_in_the_volume_does_not_matter() -> None:
    mask = MASKS["ragged"]
    moved = np.pad(mask, ((7, 1), (0, 9), (3, 3)))
    assert shape_features(mask, grid_of(mask)) == shape_features(moved, grid_of(moved))


def test_a_ball_has_a_balls_numbers() -> None:
    mask = (np.indices((50, 50, 50)) - 24.5) ** 2
    found = shape_features(mask.sum(axis=0) < 20.0**2, grid_of(mask[0]))
    assert found["VoxelVolume"] == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.01)
    assert found["Maximum3DDiameter"] == pytest.approx(40.0, abs=1.0)
    assert found["Elongation"] == pytest.approx(1.0, abs=1e-9)
    assert found["Sphericity"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("voxels", [0, 1])
def test_a_mask_without_shape_is_refused(voxels: int) -> None:
    mask = np.zeros((5, 5, 5), bool)
    mask.flat[:voxels] = True
    with pytest.raises(BadInput, match="mask"):
        shape_features(mask, grid_of(mask))


def test_faster_than_pyradiomics_on_a_large_tumour() -> None:
    mask = np.kron(ellipsoid((16, 18, 20), 0.0, 0), np.ones((2, 2, 2), bool))
    grid = grid_of(mask)
    shape_features(mask, grid)
    start = time.perf_counter()
    found = shape_features(mask, grid)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    expected = by_pyradiomics(mask, grid)
    theirs = time.perf_counter() - start
    assert found["Maximum3DDiameter"] == pytest.approx(expected["Maximum3DDiameter"], rel=1e-9)
    assert theirs > 3 * ours
