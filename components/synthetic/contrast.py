"""How bright each tissue is in each sequence: drawn around physics, and now and then far beyond."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from components.core.vocabulary import Sequence

TUMOR = ("oedema", "solid", "rim", "necrosis")

TISSUES = (
    *("grey", "white", "csf", "dura", "bone", "scalp", "vessel", "gliosis", "cavity"),
    *TUMOR,
)
"""Order of the shares that make a voxel's brightness."""

_RANGES: dict[Sequence, dict[str, tuple[float, float]]] = {
    Sequence.T1C: {
        "grey": (0.65, 0.90), "white": (1.0, 1.0), "csf": (0.20, 0.45), "dura": (0.4, 1.6),
        "bone": (0.05, 0.35), "scalp": (0.6, 1.8), "vessel": (1.3, 2.8), "gliosis": (0.75, 0.98),
        "cavity": (0.20, 0.45), "oedema": (0.50, 0.95), "solid": (0.45, 1.30),
        "rim": (1.20, 2.80), "necrosis": (0.25, 0.75),
    },
    Sequence.T2: {
        "grey": (1.15, 1.65), "white": (1.0, 1.0), "csf": (2.0, 3.8), "dura": (0.3, 1.6),
        "bone": (0.05, 0.4), "scalp": (0.5, 1.9), "vessel": (0.2, 1.5), "gliosis": (1.3, 2.2),
        "cavity": (1.8, 3.6), "oedema": (1.4, 2.8), "solid": (1.2, 2.8), "rim": (1.0, 2.4),
        "necrosis": (1.6, 3.6),
    },
    Sequence.FLAIR: {
        "grey": (1.05, 1.40), "white": (1.0, 1.0), "csf": (0.10, 0.50), "dura": (0.3, 1.4),
        "bone": (0.05, 0.4), "scalp": (0.4, 1.6), "vessel": (0.3, 1.6), "gliosis": (1.2, 2.1),
        "cavity": (0.15, 0.7), "oedema": (1.25, 2.60), "solid": (1.05, 2.40), "rim": (1.0, 2.3),
        "necrosis": (0.25, 2.0),
    },
}  # fmt: skip
"""Brightness, white matter = 1, of spin-echo and gradient-echo scans at 1.5 and 3 T."""

STRANGE = {Sequence.T1C: 0.08, Sequence.T2: 0.08, Sequence.FLAIR: 0.0}
"""Share of the samples in which a sequence's tissues have any brightness at all."""

UNEVEN_TUMOR = 1.5
"""How much more uneven than other tissue a tumour is."""

DROPPED = {Sequence.T1C: 0.2, Sequence.T2: 0.3, Sequence.FLAIR: 0.08}
"""Share of the samples that lack a sequence; one always stays."""


@dataclass(frozen=True)
class ContrastDraw:
    """The random numbers of one sample's brightness.

    Attributes:
        brightness: float64 [sequence, tissue].
        detail: exponent on the fine structure, by sequence.
        texture: SD of the smooth unevenness within tissues, by sequence.
        texture_mm: its length; seed: of its noise.
        moved: voxels (z, y, x) by which each sequence is out of place.
        thick: slices of the network grid that one slice of the scan covers, by sequence and axis.
        dropped: sequences that are missing.
    """

    brightness: np.ndarray
    detail: tuple[float, ...]
    texture: tuple[float, ...]
    texture_mm: float
    seed: int
    moved: np.ndarray
    thick: tuple[tuple[int, int], ...]
    dropped: tuple[bool, ...]


def draw_contrast(rng: np.random.Generator) -> ContrastDraw:
    """Draw what all three sequences look like, and which of them are there."""
    strange = [rng.random() < STRANGE[sequence] for sequence in Sequence]
    rows = [
        rng.uniform(0.1, 3.0, len(TISSUES)) if odd else _plausible(rng, sequence)
        for sequence, odd in zip(Sequence, strange, strict=True)
    ]
    dropped = [bool(rng.random() < DROPPED[sequence]) for sequence in Sequence]
    if all(dropped):
        dropped[-1] = False
    moved = rng.integers(-1, 2, (len(Sequence), 3)) * (rng.random((len(Sequence), 1)) < 0.2)
    thick = [
        (int(rng.integers(2, 6)), int(rng.choice(3, p=(0.8, 0.1, 0.1))))
        if rng.random() < 0.5
        else (1, 0)
        for _ in Sequence
    ]
    return ContrastDraw(
        brightness=np.array(rows),
        detail=tuple(float(d) for d in rng.uniform(0.0, 1.5, len(Sequence))),
        texture=tuple(float(t) for t in rng.uniform(0.0, 0.10, len(Sequence))),
        texture_mm=float(rng.uniform(3.0, 20.0)),
        seed=int(rng.integers(2**31)),
        moved=moved,
        thick=tuple(thick),
        dropped=tuple(dropped),
    )


def _plausible(rng: np.random.Generator, sequence: Sequence) -> np.ndarray:
    ranges = _RANGES[sequence]
    values = np.array([rng.uniform(*ranges[tissue]) for tissue in TISSUES])
    return values * np.exp(rng.normal(0.0, 0.05, len(TISSUES)))


def render_contrast(
    draw: ContrastDraw, shares: np.ndarray, detail: np.ndarray, spacing_mm: float
) -> np.ndarray:
    """Brightness of the three sequences, float32 (sequence, z, y, x); 0 where one is missing.

    Args:
        shares: uint8 [tissue, z, y, x], 255 for all of a voxel.
        detail: float16 [z, y, x], the fine structure of the brain.
        spacing_mm: mean voxel side.
    """
    size = detail.shape
    flat = shares.reshape(len(shares), -1).astype(np.float32) / 255.0
    mixed = (draw.brightness.astype(np.float32) @ flat).reshape(len(Sequence), *size)
    fine = np.log(detail.astype(np.float32))
    # Tumours are less even than the tissue around them.
    tumor = flat[-len(TUMOR) :].sum(axis=0).reshape(size)
    uneven_by = 1.0 + UNEVEN_TUMOR * np.clip(tumor, 0.0, 1.0)
    rng = np.random.default_rng(draw.seed)
    for index in range(len(Sequence)):
        if draw.dropped[index]:
            mixed[index] = 0.0
            continue
        uneven = _smooth(rng, size, draw.texture_mm / spacing_mm) * draw.texture[index]
        image = mixed[index] * np.exp(draw.detail[index] * fine + uneven * uneven_by)
        image = np.roll(image, draw.moved[index], axis=(0, 1, 2))
        mixed[index] = _thick(image, *draw.thick[index])
    return mixed


def _smooth(rng: np.random.Generator, size: tuple[int, ...], length: float) -> np.ndarray:
    """Noise of SD 1 and about this length in voxels."""
    nodes = tuple(max(2, int(n / max(length, 1.0)) + 1) for n in size)
    return stretched(rng.standard_normal(nodes, dtype=np.float32), size)


def _thick(image: np.ndarray, slices: int, axis: int) -> np.ndarray:
    """An image as thick slices show it: averaged over each, and interpolated between them."""
    if slices == 1:
        return image
    count = image.shape[axis] // slices * slices
    body = np.moveaxis(image, axis, 0)[:count]
    coarse = body.reshape(-1, slices, *body.shape[1:]).mean(axis=1)
    return stretched(np.moveaxis(coarse, 0, axis), image.shape)


def stretched(values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """float32 values (z, y, x) interpolated linearly to another size; edges fall on edges."""
    nodes = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    return F.interpolate(nodes, size, mode="trilinear", align_corners=False)[0, 0].numpy()
