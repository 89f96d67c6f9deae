"""Augmentation of training samples: random numbers are drawn first, then applied.

`draw_volume` turns a random generator into a frozen `VolumeAugmentation`; `augment_volume` applies
it to tensors on any device and knows no randomness but the noise, which comes from its own seed. So
a training step can be replayed, on another device or after a restart, from (seed, member, step,
sample) alone.
"""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from components.core.vocabulary import CLIP_SD, Sequence
from components.segment.data.network_input import network_input
from components.segment.settings import VolumeAugmentationSettings

MEAN_OVER_SD = 3.0
"""Mean of brain tissue in SDs above black, as seen on T1C and FLAIR: a gain acts on intensities,
and z-scores plus this are intensities again."""

BIAS_NODES = 4
"""Nodes per axis of the grid that a simulated bias field is interpolated from."""


BIAS_STRENGTH = 0.3
"""Largest log gain of a simulated bias field."""

MAX_THICKNESS = 4
"""Largest factor of simulated thick slices."""


@dataclass(frozen=True)
class ChannelDraw:
    """What happens to the intensities of one channel. None or 0 leaves them alone."""

    gamma: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    bias: np.ndarray | None = None
    noise_sd: float = 0.0
    blur: float = 1.0
    thickness: int = 1
    dropped: bool = False
    inverted: bool = False


@dataclass(frozen=True)
class VolumeAugmentation:
    """One sample's random numbers.

    Attributes:
        matrix: 3x3, output offset -> source offset, both in shares of the volume along x, y, z.
        shift: displacement of the centre along x, y, z, as a share of the volume's side.
        erode: voxels taken off the brain's rim.
        channels: one ChannelDraw per input sequence.
        noise_seed: seed of the white noise.
    """

    matrix: np.ndarray
    shift: np.ndarray
    erode: int
    channels: tuple[ChannelDraw, ...]
    noise_seed: int


IDENTITY = np.eye(3)


def draw_volume(
    rng: np.random.Generator, settings: VolumeAugmentationSettings, inputs: Ordered[Sequence]
) -> VolumeAugmentation:
    """Draw the random numbers of one sample."""
    matrix, shift = _draw_affine(rng, settings)
    if rng.random() < settings.flip:
        matrix = matrix * np.array([-1.0, 1.0, 1.0])
    erode = int(rng.integers(1, 3)) if rng.random() < settings.erode else 0
    thickness = 1
    if rng.random() < settings.thick_slices:
        thickness = int(rng.integers(2, MAX_THICKNESS + 1))
    channels = tuple(_draw_channel(rng, settings, name, thickness) for name in inputs)
    return VolumeAugmentation(matrix, shift, erode, channels, int(rng.integers(2**31)))


def _draw_affine(
    rng: np.random.Generator, settings: VolumeAugmentationSettings
) -> tuple[np.ndarray, np.ndarray]:
    angles = np.deg2rad(settings.rotate_degrees) * rng.uniform(-1, 1, 3)
    common = settings.scale * rng.uniform(-1, 1)
    scales = np.exp(common + 0.5 * settings.scale * rng.uniform(-1, 1, 3))
    shift = settings.shift * rng.uniform(-1, 1, 3)
    if rng.random() >= settings.affine:
        return IDENTITY, np.zeros(3)
    return rotation(angles) * scales, shift


def rotation(angles: np.ndarray) -> np.ndarray:
    """3x3 rotation by angles (radians) about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _draw_channel(
    rng: np.random.Generator, settings: VolumeAugmentationSettings, name: Sequence, thickness: int
) -> ChannelDraw:
    gamma, contrast, brightness = rng.uniform(-1, 1, 3)
    altered = rng.random() < settings.intensity
    bias = rng.uniform(-1, 1, (BIAS_NODES,) * 3) * BIAS_STRENGTH
    biased = rng.random() < settings.bias
    noise_sd = settings.noise_sd * rng.random()
    noisy = rng.random() < settings.noise
    blur = rng.uniform(1.0, 2.0)
    blurred = rng.random() < settings.blur
    losable = name is not Sequence.FLAIR
    dropped = rng.random() < settings.drop
    inverted = rng.random() < settings.invert
    return ChannelDraw(
        gamma=settings.gamma * gamma if altered else 0.0,
        contrast=settings.contrast * contrast if altered else 0.0,
        brightness=settings.brightness * brightness if altered else 0.0,
        bias=bias if biased else None,
        noise_sd=noise_sd if noisy else 0.0,
        blur=blur if blurred else 1.0,
        thickness=thickness,
        dropped=losable and dropped,
        inverted=losable and inverted,
    )


def augment_volume(
    volumes: Tensor,
    masks: Tensor,
    centre: Ordered[float],
    size: Ordered[int],
    drawn: VolumeAugmentation | None,
) -> tuple[Tensor, Tensor]:
    """One training sample: a patch around `centre`, transformed, as network input and target.

    Args:
        volumes: z-scores [channel, z, y, x], any float type, 0 outside the field of view.
        masks: [2, z, y, x] uint8 from 0 to 255: field of view, share of tumour.
        centre: patch centre in voxel indices (z, y, x), 0-based, fractions allowed.
        size: patch size in voxels (z, y, x).
        drawn: the random numbers; None takes the patch as it is.

    Returns:
        input [channel, *size] in [0, 1] and target [1, *size], the share of tumour,
        both float32.
    """
    matrix = IDENTITY if drawn is None else drawn.matrix
    shift = np.zeros(3) if drawn is None else drawn.shift
    stack = _sample(volumes, masks, np.asarray(centre, dtype=float), size, matrix, shift)
    images, field, target = stack[:-2], stack[-2:-1] > 0.5, stack[-1:]
    if drawn is not None:
        field = _erode(field, drawn.erode)
        images = _change_intensities(images, drawn)
    return network_input(images, field), target


def _sample(
    volumes: Tensor,
    masks: Tensor,
    centre: np.ndarray,
    size: Ordered[int],
    matrix: np.ndarray,
    shift: np.ndarray,
) -> Tensor:
    """float32 [channel + 2, *size]: volumes and masks (0 to 1) in the transformed patch."""
    whole = tuple(size) == tuple(volumes.shape[1:])
    if whole and matrix is IDENTITY and not shift.any():
        return _stacked(volumes, masks)
    full = np.array(volumes.shape[:0:-1], dtype=float)
    patch = np.array(size[::-1], dtype=float)
    # Normalised coordinates run from -1 to 1 over a volume's edges, along x, y, z.
    middle = (2.0 * np.asarray(centre)[::-1] + 1.0) / full - 1.0 + 2.0 * shift
    matrix = matrix * (patch / full)
    low, high = _reach(matrix, middle, full)
    part = (slice(None), *(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True)))
    stack = _stacked(volumes[part], masks[part])
    stretch = full / (high - low)
    middle = (middle + 1.0) * stretch - 2.0 * low / (high - low) - 1.0
    theta = np.concatenate([matrix * stretch[:, None], middle[:, None]], axis=1)
    theta_tensor = torch.tensor(theta[None], dtype=torch.float32).to(stack.device)
    grid = F.affine_grid(theta_tensor, [1, len(stack), *size], align_corners=False)
    return F.grid_sample(stack[None], grid, mode="bilinear", align_corners=False)[0]


def _stacked(volumes: Tensor, masks: Tensor) -> Tensor:
    return torch.cat([volumes.float(), masks.float() / 255.0])


def _reach(
    matrix: np.ndarray, middle: np.ndarray, full: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last voxel (x, y, z) that a transformed patch reads, for bilinear."""
    half = np.abs(matrix).sum(axis=1)
    edges = ((np.stack([middle - half, middle + half]) + 1.0) * full - 1.0) / 2.0
    low = np.clip(np.floor(edges[0]) - 1, 0, full - 1).astype(int)
    high = np.clip(np.ceil(edges[1]) + 2, low + 1, full).astype(int)
    return low, high


def _erode(field: Tensor, voxels: int) -> Tensor:
    if voxels == 0:
        return field
    outside = F.max_pool3d((~field).float(), 2 * voxels + 1, stride=1, padding=voxels)
    return outside < 0.5


def _change_intensities(images: Tensor, drawn: VolumeAugmentation) -> Tensor:
    noise = torch.Generator(images.device).manual_seed(drawn.noise_seed)
    changed = []
    for image, channel in zip(images, drawn.channels, strict=True):
        image = _change_shape(image[None, None], channel)[0, 0]
        image = _change_tone(image, channel)
        if channel.noise_sd:
            field = torch.randn(image.shape, generator=noise, device=image.device)
            image = image + channel.noise_sd * field
        changed.append(torch.zeros_like(image) if channel.dropped else image)
    return torch.stack(changed)


def _change_shape(image: Tensor, channel: ChannelDraw) -> Tensor:
    """Lost resolution, in-plane and along z, and the smooth gain; `image` is [1, 1, z, y, x]."""
    size = list(image.shape[2:])
    if channel.blur > 1.0:
        coarse = [size[0], *(max(round(n / channel.blur), 1) for n in size[1:])]
        image = F.interpolate(image, coarse, mode="trilinear", align_corners=False)
        image = F.interpolate(image, size, mode="trilinear", align_corners=False)
    if channel.thickness > 1:
        image = F.avg_pool3d(image, (channel.thickness, 1, 1), ceil_mode=True)
        image = F.interpolate(image, size, mode="trilinear", align_corners=False)
    if channel.bias is not None:
        nodes = torch.tensor(channel.bias[None, None], dtype=torch.float32).to(image.device)
        field = F.interpolate(nodes, size, mode="trilinear", align_corners=True)
        image = (image + MEAN_OVER_SD) * field.exp() - MEAN_OVER_SD
    return image


def _change_tone(image: Tensor, channel: ChannelDraw) -> Tensor:
    if channel.inverted:
        image = -image
    if channel.gamma:
        unit = (image.clamp(-CLIP_SD, CLIP_SD) + CLIP_SD) / (2 * CLIP_SD)
        image = unit.pow(float(np.exp(channel.gamma))) * 2 * CLIP_SD - CLIP_SD
        # Gamma moves the mid-tone z = 0 with everything else; put it back.
        image = image - (0.5 ** float(np.exp(channel.gamma)) * 2 * CLIP_SD - CLIP_SD)
    return image * float(np.exp(channel.contrast)) + channel.brightness
