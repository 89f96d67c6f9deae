"""From logits to probabilities that mean what they say (Guo et al. 2017; Platt 1999)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from components.classify.settings import CalibrationKind

PRIOR_SD = 1.0
"""Both parameters are pulled towards no change, like by a normal prior with this SD (of the log of
the temperature, and of the shift): a dozen tuning patients that are separated perfectly would
otherwise ask for an infinite temperature."""


@dataclass(frozen=True)
class Calibrator:
    """probability = sigmoid(margin / temperature + shift)."""

    temperature: float = 1.0
    shift: float = 0.0

    def __call__(self, margins: np.ndarray) -> np.ndarray:
        """Probabilities of margins (logit differences), of any shape."""
        return special.expit(margins / self.temperature + self.shift)


def fit(margins: np.ndarray, idh: np.ndarray, kind: CalibrationKind) -> Calibrator:
    """Fit on held-out patients by the log loss of their mean probability.

    Args:
        margins: [n, networks, slices] of patients that the networks have not seen.
        idh: [n], 0 or 1.
    """
    if kind is CalibrationKind.NONE or not len(idh):
        return Calibrator()

    def calibrator(x: np.ndarray) -> Calibrator:
        return Calibrator(float(np.exp(x[0])), float(x[1]) if len(x) > 1 else 0.0)

    def loss(x: np.ndarray) -> float:
        mean = np.clip(calibrator(x)(margins).mean(axis=(1, 2)), 1e-6, 1.0 - 1e-6)
        likelihood = np.where(idh == 1, np.log(mean), np.log1p(-mean)).sum()
        return float(-likelihood + 0.5 * (x**2).sum() / PRIOR_SD**2)

    start = np.zeros(2 if kind is CalibrationKind.PLATT else 1)
    bounds = [(-3.0, 3.0)] * len(start)
    return calibrator(optimize.minimize(loss, start, method="L-BFGS-B", bounds=bounds).x)
