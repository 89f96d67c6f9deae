"""How sure a prediction is, and how like the training patients the patient is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SHRINKAGE = 0.2
"""Share of the identity in the covariance of the training patients: few patients, many numbers."""


def rms_distance(probabilities: Tensor) -> Tensor:
    """Uncertainty: root-mean-square distance of the single probabilities from the decision.

    sqrt(mean (p - decision)^2) = sqrt(variance + (mean - decision)^2): 0 when every network is sure
    on every slice; it grows with a mean near one half, and with networks or slices that disagree.
    At most 1.

    Args:
        probabilities: [networks, n, slices].

    Returns:
        [n].
    """
    mean = probabilities.mean(dim=(0, 2))
    decision = (mean >= 0.5).to(probabilities.dtype)
    return ((probabilities - decision[None, :, None]) ** 2).mean(dim=(0, 2)).sqrt()


@dataclass(frozen=True)
class Reference:
    """Where one network's training patients lie: mean [d] and precision [d, d]."""

    mean: Tensor
    precision: Tensor

    @classmethod
    def of(cls, points: np.ndarray) -> Reference:
        """From the penultimate features [n, d] of training patients (image part and features).

        Each number is standardised first, so that the shrinkage treats all alike.
        """
        mean, sd = points.mean(axis=0), points.std(axis=0)
        sd = np.where(sd > 1e-6, sd, 1.0)
        standard = (points - mean) / sd
        covariance = standard.T @ standard / len(points)
        covariance = (1.0 - SHRINKAGE) * covariance + SHRINKAGE * np.eye(len(mean))
        precision = np.linalg.inv(covariance) / np.outer(sd, sd)
        return cls(torch.from_numpy(mean).float(), torch.from_numpy(precision).float())

    def distance(self, points: Tensor) -> Tensor:
        """Mahalanobis distance per root dimension of points [n, d]: [n], about 1 in training."""
        centred = points - self.mean
        squared = ((centred @ self.precision) * centred).sum(dim=1)
        return (squared.clamp(min=0.0) / points.shape[1]).sqrt()


def abstention_threshold(uncertainty: np.ndarray, coverage: float) -> float:
    """Uncertainty above which a patient is not answered: the `coverage` quantile held-out."""
    return float(np.quantile(uncertainty, coverage)) if len(uncertainty) else 1.0


def risk_coverage(
    uncertainty: np.ndarray, probability: np.ndarray, idh: np.ndarray
) -> list[dict[str, float]]:
    """Accuracy at 0.5 among the surest patients, for every coverage that n patients allow.

    Returns:
        one {"coverage", "threshold", "accuracy"} a patient, from the surest on.
    """
    order = np.argsort(uncertainty, kind="stable")
    right = ((probability >= 0.5) == (idh == 1))[order]
    accuracy = right.cumsum() / np.arange(1, len(right) + 1)
    return [
        {
            "coverage": (i + 1) / len(right),
            "threshold": float(uncertainty[order[i]]),
            "accuracy": float(accuracy[i]),
        }
        for i in range(len(right))
    ]
