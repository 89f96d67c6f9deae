"""Random changes of training slices: drawn first, then applied."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from components.classify.settings import SliceAugmentationSettings

SEQUENCES = 2


@dataclass(frozen=True)
class SliceAugmentation:
    """Drawn numbers for a batch of n slices.

    Attributes:
        theta: [n, 2, 3] affine matrices in normalised coordinates (x, y).
        contrast, brightness: [n, 2] factor and shift of the z-scores.
        noise: [n, 2] SD of white noise.
        blurred: bool [n].
        kept: bool [n, 2]; a sequence that is not kept shows the mean of the brain everywhere.
        seed: of the noise fields.
        features: SD of the noise on the standardised features.
    """

    theta: Tensor
    contrast: Tensor
    brightness: Tensor
    noise: Tensor
    blurred: Tensor
    kept: Tensor
    seed: int
    features: float


def draw_slices(
    settings: SliceAugmentationSettings, n: int, generator: torch.Generator
) -> SliceAugmentation:
    """Draw the changes of n slices from a CPU generator."""

    def uniform(*shape: int) -> Tensor:
        return 2.0 * torch.rand(*shape, generator=generator) - 1.0

    angle = uniform(n) * math.radians(settings.rotate_degrees)
    size = 1.0 / (1.0 + uniform(n) * settings.scale)
    mirror = torch.where(torch.rand(n, generator=generator) < settings.flip, -1.0, 1.0)
    cos, sin = angle.cos() * size, angle.sin() * size
    rows = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)])
    shift = 2.0 * settings.shift * uniform(n, 2)
    theta = torch.cat([rows.permute(1, 0, 2), shift[:, :, None]], dim=2)
    lost = torch.rand(n, generator=generator) < settings.drop
    which = torch.randint(SEQUENCES, (n,), generator=generator)
    dropped = lost[:, None] & (which[:, None] == torch.arange(SEQUENCES)[None])
    return SliceAugmentation(
        theta=theta,
        contrast=(uniform(n, SEQUENCES) * settings.contrast).exp(),
        brightness=uniform(n, SEQUENCES) * settings.brightness,
        noise=torch.rand(n, SEQUENCES, generator=generator) * settings.noise,
        blurred=torch.rand(n, generator=generator) < settings.blur,
        kept=~dropped,
        seed=int(torch.randint(2**31 - 1, (1,), generator=generator)),
        features=settings.features,
    )


def augment_slices(images: Tensor, drawn: SliceAugmentation) -> Tensor:
    """Apply drawn changes to images [n, 3, y, x] (two sequences in [0, 1], mask 0 or 1).

    The background stays exactly 0, the sequences in [0, 1] and the mask 0 or 1.
    """
    device = images.device
    brain = (images[:, :SEQUENCES].amax(dim=1, keepdim=True) > 0).float()
    stack = torch.cat([images, brain], dim=1)
    grid = F.affine_grid(drawn.theta.to(device), list(stack.shape), align_corners=False)
    stack = F.grid_sample(stack, grid, mode="bilinear", align_corners=False)
    moved, mask, brain = stack[:, :2], stack[:, 2:3], stack[:, 3:]
    inside = (brain > 0.5).float()
    # At the brain's rim the background's zeros bleed in; dividing by the brain's share undoes it.
    z = (moved / brain.clamp(min=0.5) - 0.5) * 10.0
    if drawn.blurred.any():
        coarse = F.avg_pool2d(z, 2, ceil_mode=True)
        blurred = F.interpolate(coarse, z.shape[-2:], mode="bilinear", align_corners=False)
        z = torch.where(drawn.blurred.to(device)[:, None, None, None], blurred, z)
    z = z * _wide(drawn.contrast, device) + _wide(drawn.brightness, device)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(drawn.seed))
    z = (z + noise.to(device) * _wide(drawn.noise, device)) * _wide(drawn.kept.float(), device)
    scaled = (z / 10.0 + 0.5).clamp(0.0, 1.0) * inside
    return torch.cat([scaled, (mask > 0.5).float()], dim=1)


def jitter(features: Tensor, spread: Tensor, drawn: SliceAugmentation) -> Tensor:
    """Add noise of `drawn.features` SDs to raw features [n, 24]; `spread` [24] is one SD."""
    if not drawn.features:
        return features
    generator = torch.Generator().manual_seed(drawn.seed + 1)
    noise = torch.randn(features.shape, generator=generator).to(features.device)
    return features + drawn.features * spread * noise


def _wide(values: Tensor, device: torch.device) -> Tensor:
    return values.to(device)[:, :, None, None]
