"""Loci: percentages in an atlas whose regions are known slabs."""

from __future__ import annotations

import numpy as np
import pytest

from components.core.errors import BadInput
from components.core.imaging.grid import Grid
from components.core.vocabulary import REGIONS
from components.features.loci import loci_features
from tests.features.factories import make_atlas

GRID = Grid((20, 20, 20), (-9.5, -9.5, -9.5), (1.0, 1.0, 1.0))


def test_percent_of_each_region() -> None:
    mask = np.zeros(GRID.shape, bool)
    mask[10:15, 4:8, 4:8] = True  # z from 0.5 to 4.5 mm: the middle slab, -5 to 5 mm
    mask[15:20, 4:8, 4:8] = True  # z from 5.5 to 9.5 mm: the next one
    found = loci_features(mask, GRID, np.eye(4), make_atlas())
    assert tuple(found) == REGIONS
    assert found[REGIONS[4]] == pytest.approx(50.0)
    assert found[REGIONS[5]] == pytest.approx(50.0)
    assert sum(found.values()) == pytest.approx(100.0)


def test_the_alignment_carries_the_tumour() -> None:
    mask = np.zeros(GRID.shape, bool)
    mask[10:14, 10, 10] = True
    to_mni = np.eye(4)
    to_mni[2, 3] = -20.0
    found = loci_features(mask, GRID, to_mni, make_atlas())
    assert found[REGIONS[2]] == pytest.approx(100.0)


def test_direction_and_spacing_of_the_mask_count() -> None:
    turned = Grid(GRID.size, (9.5, 9.5, -9.5), (0.5, 0.5, 2.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    mask = np.zeros(GRID.shape, bool)
    mask[0:2] = True  # z = -9.5 and -7.5 mm
    found = loci_features(mask, turned, np.eye(4), make_atlas())
    assert found[REGIONS[3]] == pytest.approx(100.0)


def test_outside_the_atlas_is_no_region() -> None:
    far = Grid(GRID.size, (500.0, 0.0, 0.0), GRID.spacing)
    found = loci_features(np.ones(far.shape, bool), far, np.eye(4), make_atlas())
    assert set(found.values()) == {0.0}


def test_probabilities_are_averaged_over_the_mask() -> None:
    mask = np.zeros(GRID.shape, bool)
    mask[9:11, 10, 10] = True
    found = loci_features(mask, GRID, np.eye(4), make_atlas(probabilities=True))
    assert found[REGIONS[4]] == pytest.approx(50.0)


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(BadInput, match="empty"):
        loci_features(np.zeros(GRID.shape, bool), GRID, np.eye(4), make_atlas())
