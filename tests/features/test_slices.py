"""The five slices and their guards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import BadInput
from components.core.vocabulary import SLICE_OFFSETS
from components.features.slices import choose_slices


def mask_of(areas: list[int]) -> np.ndarray:
    mask = np.zeros((len(areas), 8, 8), bool)
    for z, area in enumerate(areas):
        mask[z].flat[:area] = True
    return mask


def test_largest_and_its_neighbours() -> None:
    chosen = choose_slices(mask_of([0, 1, 2, 3, 4, 5, 9, 5, 4, 3, 2, 1, 0]))
    assert chosen.indices == (2, 4, 6, 8, 10)
    assert chosen.moved == 0


def test_a_thin_tumour_repeats_its_slices() -> None:
    chosen = choose_slices(mask_of([0, 0, 0, 0, 3, 9, 3, 0, 0, 0]))
    assert chosen.indices == (4, 4, 5, 6, 6)
    assert chosen.moved == 4


def test_the_edge_of_the_volume() -> None:
    assert choose_slices(mask_of([9, 4, 3, 2, 1, 1])).indices == (0, 0, 0, 2, 4)
    assert choose_slices(mask_of([1, 1, 2, 3, 4, 9])).indices == (1, 3, 5, 5, 5)


def test_a_gap_is_bridged_towards_the_middle() -> None:
    # z = 1 and 5 have none; both neighbours are as near, and the inner one is taken.
    assert choose_slices(mask_of([3, 0, 3, 9, 3, 0, 3, 2])).indices == (0, 2, 3, 4, 7)


def test_no_tumour_is_refused() -> None:
    with pytest.raises(BadInput, match="no slice"):
        choose_slices(mask_of([0, 0, 0]))


@given(st.lists(st.integers(0, 64), min_size=1, max_size=30).filter(any))
def test_every_chosen_slice_has_tumour(areas: list[int]) -> None:
    chosen = choose_slices(mask_of(areas))
    assert len(chosen.indices) == len(SLICE_OFFSETS)
    assert all(areas[z] > 0 for z in chosen.indices)
    assert areas[chosen.indices[2]] == max(areas)
    assert list(chosen.indices) == sorted(chosen.indices)
