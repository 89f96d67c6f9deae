"""Model 1's view of a prepared case: z-scores over the brain, clipped, scaled to [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor


def network_input(volumes: Tensor, brain: Tensor, clip: float) -> Tensor:
    """Scale z-scores so that [-clip, clip] becomes [0, 1]; exactly 0 outside the brain.

    With clip = 5 this is METHOD's "clip to ±5, then /10 + 0.5; background exactly 0".

    Args:
        volumes: z-scores over the whole brain, [..., channel, z, y, x].
        brain: bool or 0/1, broadcastable to `volumes` (usually [..., 1, z, y, x]).
        clip: SDs at which intensities are cut.
    """
    scaled = volumes.clamp(-clip, clip) / (2.0 * clip) + 0.5
    return scaled * brain.to(torch.float32)
