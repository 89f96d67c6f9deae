"""Overlap of two masks."""

from __future__ import annotations

import numpy as np


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Dice coefficient of two bool arrays of one shape; 1.0 when both are empty."""
    total = int(mask.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2.0 * int((mask & truth).sum()) / total
