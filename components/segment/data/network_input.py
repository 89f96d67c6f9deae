"""The segmenter's view of a prepared case: z-scores, clipped, scaled to [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from components.core.vocabulary import CLIP_SD


def field_of_view(volumes: Tensor, brain: Tensor) -> Tensor:
    """What the network may see: the brain, and all that preprocessing kept around it.

    Args:
        volumes: [..., channel, z, y, x], 0 where preprocessing kept nothing.
        brain: bool or 0/1 [..., 1, z, y, x].

    Returns:
        bool, of the brain's shape.
    """
    return brain.bool() | (volumes != 0.0).any(dim=-4, keepdim=True)


def network_input(volumes: Tensor, field: Tensor) -> Tensor:
    """Clip z-scores to ±5, then /10 + 0.5; exactly 0 outside the field of view (method.md).

    Args:
        volumes: z-scores over the whole brain, [..., channel, z, y, x].
        field: `field_of_view`, broadcastable to `volumes` (usually [..., 1, z, y, x]).
    """
    scaled = volumes.clamp(-CLIP_SD, CLIP_SD) / (2.0 * CLIP_SD) + 0.5
    return scaled * field.to(torch.float32)
