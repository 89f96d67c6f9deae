"""The rule that makes a mask of a probability."""

from __future__ import annotations

import numpy as np
import pytest

from components.segment.inference.mask import MaskRule, confidence, confidences, remove_islands
from tests.factories import box_grid


def test_the_mask_is_finer_than_the_network_grid() -> None:
    grid, working = box_grid(16), box_grid(80)
    z = np.arange(16, dtype=np.float32)[:, None, None]
    ramp = np.broadcast_to(np.clip((z - 5.2) / 4.0, 0, 1), (16, 16, 16))
    mask = MaskRule(0.5, min_ml=0.0).mask(ramp, grid, working)
    # The ramp crosses 0.5 at z = 7.2 voxels of 10 mm; voxel centres of 2 mm lie at 2 (i - 39.5).
    crossing = (7.2 - 7.5) * 10.0
    first = int(np.argmax(mask[:, 40, 40]))
    assert first == int(np.ceil(crossing / 2 + 39.5))


def test_islands_below_the_limit_go_and_diagonal_neighbours_hold_together() -> None:
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[1:3, 1:3, 1:3] = True
    mask[3, 3, 3] = True
    mask[6, 6, 6] = True
    kept = remove_islands(mask, 2)
    assert kept.sum() == 9
    assert not kept[6, 6, 6]
    assert remove_islands(mask, 0).sum() == 10
    assert not remove_islands(mask, 100).any()


def test_nothing_found_is_an_empty_mask_with_no_confidence() -> None:
    grid = box_grid(16)
    nothing = np.full((16, 16, 16), 0.1, dtype=np.float32)
    assert not MaskRule(0.5, min_ml=0.5).mask(nothing, grid, box_grid(40)).any()
    assert confidence(nothing, 0.5) == 0.0


def test_confidence_is_the_expected_dice() -> None:
    sharp = np.zeros((4, 4, 4))
    sharp[:2] = 1.0
    assert confidence(sharp, 0.5) == pytest.approx(1.0)
    vague = np.where(sharp > 0, 0.7, 0.3)
    assert confidence(vague, 0.5) == pytest.approx(2 * 0.7 * 32 / (0.7 * 32 + 0.3 * 32 + 32))


def blob(inside: float) -> np.ndarray:
    probability = np.full((16, 16, 16), 0.01, dtype=np.float32)
    probability[4:10, 4:10, 4:10] = inside
    return probability


def test_a_faint_tumour_is_missed_without_doubt_and_found_with_it() -> None:
    grid, faint = box_grid(16), blob(0.35)
    strict, kind = MaskRule(0.6, min_ml=0.5), MaskRule(0.6, min_ml=0.5, doubt=0.3)
    assert not strict.mask(faint, grid, grid).any()
    found = kind.mask(faint, grid, grid)
    assert np.array_equal(found, faint > 0.3)
    assert kind.threshold_for(faint) < 0.35
    assert kind.confidence(faint) == confidences(faint).max() > strict.confidence(faint) == 0.0


def test_doubt_changes_nothing_for_a_tumour_that_is_sure() -> None:
    sure = blob(0.9)
    assert MaskRule(0.6, min_ml=0.5, doubt=0.3).threshold_for(sure) == 0.6


def test_doubt_does_not_invent_a_tumour_where_nothing_reaches_the_lowest_candidate() -> None:
    grid = box_grid(16)
    assert not MaskRule(0.6, min_ml=0.0, doubt=0.3).mask(blob(0.09), grid, grid).any()
