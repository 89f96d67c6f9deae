"""From a tumour probability to the mask of a patient: one rule in training, KFP and Triton."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from components.core.imaging.grid import Grid, resample

THRESHOLDS = tuple(np.round(np.arange(0.1, 0.951, 0.05), 2).tolist())
"""Candidates; the authors' released threshold, 0.95, is among them."""

_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class MaskRule:
    """How a probability becomes a mask.

    Attributes:
        threshold: probability from which a voxel is tumour.
        min_ml: smaller islands (mL, 26 neighbours) are not tumour.
        doubt: a mask whose `confidence` is below this is replaced by the mask of the candidate
            threshold with the largest confidence: a faint tumour is then found rather than missed.
            0 keeps one threshold for everybody.
    """

    threshold: float
    min_ml: float
    doubt: float = 0.0

    def threshold_for(self, probability: np.ndarray) -> float:
        """The threshold this patient's probability is cut at.

        For probabilities that mean what they say, the cut of largest expected Dice is lower, the
        less sure the network is (Lipton et al., ECML 2014: half of the best expected value).
        """
        if not self.doubt or confidence(probability, self.threshold) >= self.doubt:
            return self.threshold
        return THRESHOLDS[int(confidences(probability).argmax())]

    def mask(self, probability: np.ndarray, grid: Grid, working: Grid) -> np.ndarray:
        """Tumour mask bool [z, y, x] on `working`, from a probability [z, y, x] on `grid`.

        The probability is interpolated trilinearly before it is cut, so that the mask's surface is
        finer than the network grid. An all-False result means that no tumour was found.
        """
        mask = resample(probability, grid, working) >= self.threshold_for(probability)
        return remove_islands(mask, self.min_ml / working.voxel_ml)

    def confidence(self, probability: np.ndarray) -> float:
        """`confidence` of this patient's mask."""
        return confidence(probability, self.threshold_for(probability))


def remove_islands(mask: np.ndarray, min_voxels: float) -> np.ndarray:
    """Keep the connected components (26 neighbours) of at least `min_voxels` voxels."""
    if not mask.any():
        return mask
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    labels, _ = ndimage.label(mask[box], structure=_NEIGHBOURS)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = np.zeros_like(mask)
    kept[box] = (sizes >= min_voxels)[labels] & mask[box]
    return kept


def confidence(probability: np.ndarray, threshold: float) -> float:
    """Estimated Dice of the mask without knowing the truth, in [0, 1]; 0 for an empty mask.

    The expected Dice if each voxel were tumour with its own probability p, to first order:
    2 sum(p m) / (sum(p) + sum(m)) with m the mask p >= threshold. Disagreement between members or
    mirror images lowers p inside and raises it outside the mask, and so lowers this.
    """
    mask = probability >= threshold
    if not mask.any():
        return 0.0
    inside = float(probability[mask].sum(dtype=np.float64))
    return 2.0 * inside / (float(probability.sum(dtype=np.float64)) + int(mask.sum()))


def confidences(probability: np.ndarray) -> np.ndarray:
    """`confidence` at every candidate of THRESHOLDS."""
    return np.array([confidence(probability, threshold) for threshold in THRESHOLDS])
