"""Intensities as z-scores over the brain."""

from __future__ import annotations

import numpy as np

from components.core.errors import BadInput

_LARGEST = 1000.0
"""Bound of a stored z-score: far beyond any tissue, within float16, and finite."""

_FEWEST = 100


def z_scores(
    values: np.ndarray, brain: np.ndarray, seen: np.ndarray, name: str, *, strip: bool = True
) -> np.ndarray:
    """Standardise an image over its brain (method.md: z-score; the clip comes at the networks'
    input).

    Args:
        values: float32 (z, y, x).
        brain: bool (z, y, x).
        seen: bool (z, y, x), inside the field of view of every sequence; mean and SD are taken
            over brain and seen.
        name: the sequence, for the message.
        strip: whether what is no brain becomes 0.

    Returns:
        float32 (z, y, x); exactly 0 outside seen and, when stripped, outside the brain.

    Raises:
        BadInput: fewer than 100 brain voxels are seen, or the brain is of one brightness.
    """
    inside = brain & seen
    if int(inside.sum()) < _FEWEST:
        raise BadInput(name, "shows hardly any brain", "give a scan of the whole brain")
    found = values[inside].astype(np.float64)
    mean, deviation = float(found.mean()), float(found.std())
    if deviation <= 1e-6 * max(abs(mean), 1e-6):
        raise BadInput(name, "is of one brightness throughout the brain", "export it again")
    scores = np.clip((values - mean) / deviation, -_LARGEST, _LARGEST)
    return np.where(inside if strip else seen, scores, 0.0).astype(np.float32)
