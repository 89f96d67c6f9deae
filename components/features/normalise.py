"""The classifier's view of the intensities: standardised by the brain without the tumour."""

from __future__ import annotations

import numpy as np

from components.core.errors import BadInput

MIN_BRAIN_VOXELS = 100
"""Fewer voxels of brain outside the tumour than this have no mean worth dividing by."""


def normalise(
    volume: np.ndarray, brain: np.ndarray, tumor: np.ndarray, clip: float = 5.0
) -> np.ndarray:
    """z-scores over the brain WITHOUT the tumour, clipped to ±clip, scaled to [0, 1] (method.md).

    z-scores do not change under a linear change of grey values, so the result is the same from
    raw intensities and from the stored z-scores over the whole brain.

    Args:
        volume: float (z, y, x), linear in the measured intensity.
        brain, tumor: bool (z, y, x).
        clip: SDs at which intensities are cut; [-clip, clip] becomes [0, 1].

    Returns:
        float32 (z, y, x), exactly 0 outside the brain. Tumour that the brain mask missed is kept
        where its intensities are (`preprocess.strip` off).

    Raises:
        BadInput: too little brain outside the tumour, or it is of one grey value.
    """
    inside = volume[brain & ~tumor].astype(np.float64)
    if inside.size < MIN_BRAIN_VOXELS:
        raise BadInput(
            "brain mask", f"{inside.size} voxels outside the tumour", "check brain and tumour mask"
        )
    spread = float(inside.std())
    if not np.isfinite(spread) or spread < 1e-6:
        raise BadInput("volume", "one grey value in the whole brain", "check the image")
    scaled = np.clip((volume - inside.mean()) / spread, -clip, clip) / (2.0 * clip) + 0.5
    return np.where(brain | (tumor & (volume != 0.0)), scaled, 0.0).astype(np.float32)
