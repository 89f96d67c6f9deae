"""Dice + cross-entropy over the deep supervision heads."""

from __future__ import annotations

import torch.nn.functional as F
from monai.losses import DiceCELoss
from torch import Tensor, nn


class DeepSupervision(nn.Module):
    """MONAI's DiceCELoss on every head, the weight halved at each coarser one.

    Targets are the share of tumour in each voxel, from 0 to 1; squared sums in the Dice term make
    that share its optimum too, where plain ones would push it to 0 or 1.

    Args:
        batch: one Dice over all samples instead of one a sample.
    """

    def __init__(self, batch: bool = False) -> None:
        super().__init__()
        # Smoothing by one voxel keeps patches without tumour from asking for a Dice of 1.
        self.loss = DiceCELoss(
            sigmoid=True, squared_pred=True, smooth_nr=1.0, smooth_dr=1.0, batch=batch
        )

    def forward(self, outputs: list[Tensor], target: Tensor) -> Tensor:
        """Mean over samples of logits [b, 1, z, y, x], finest first, against a target in [0, 1]."""
        weights = [0.5**i for i in range(len(outputs))]
        total = target.new_zeros(())
        for weight, logits in zip(weights, outputs, strict=True):
            z, y, x = logits.shape[2:]
            wanted = F.adaptive_avg_pool3d(target, (z, y, x))
            total = total + weight * self.loss(logits.float(), wanted)
        return total / sum(weights)
