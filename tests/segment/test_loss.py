"""The loss against its formula, and what it is least for."""

from __future__ import annotations

import pytest
import torch

from components.segment.network.loss import DeepSupervision


def _single(logits: torch.Tensor, target: torch.Tensor) -> float:
    """Dice term with squared sums and smoothing by one voxel, plus binary cross-entropy."""
    p = torch.sigmoid(logits)
    dice = 1 - (2 * (p * target).sum() + 1) / ((p**2).sum() + (target**2).sum() + 1)
    entropy = torch.nn.functional.binary_cross_entropy(p, target)
    return float(dice + entropy)


def test_one_head_is_dice_plus_cross_entropy() -> None:
    logits = torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    target = (logits > 0.3).float()
    assert float(DeepSupervision()([logits], target)) == pytest.approx(_single(logits, target))


def test_each_coarser_head_weighs_half() -> None:
    fine, coarse = torch.randn(1, 1, 4, 4, 4), torch.randn(1, 1, 2, 2, 2)
    target = torch.zeros(1, 1, 4, 4, 4)
    target[..., :2] = 1.0
    small = torch.nn.functional.avg_pool3d(target, 2)
    expected = (_single(fine, target) + 0.5 * _single(coarse, small)) / 1.5
    assert float(DeepSupervision()([fine, coarse], target)) == pytest.approx(expected, rel=1e-5)


def test_over_a_batch_an_empty_sample_costs_no_dice_of_its_own() -> None:
    logits = torch.full((2, 1, 4, 4, 4), -6.0)
    target = torch.zeros(2, 1, 4, 4, 4)
    target[0], logits[0] = 1.0, 6.0
    together, apart = (float(DeepSupervision(batch)([logits], target)) for batch in (True, False))
    assert together < apart
