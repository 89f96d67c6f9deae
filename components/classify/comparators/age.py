"""Age alone: the comparator every image-based model has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AgeModel:
    """Logistic regression on age: logit = intercept + slope (age - centre) / scale.

    Attributes:
        intercept, slope: coefficients.
        centre, scale: mean and SD of the training patients' ages, years.
    """

    intercept: float
    slope: float
    centre: float
    scale: float

    def predict(self, age: np.ndarray) -> np.ndarray:
        """Probability of IDH mutation, NaN where the age is: float64 [n]."""
        logit = self.intercept + self.slope * (age - self.centre) / self.scale
        return 1.0 / (1.0 + np.exp(-logit))

    def to_json(self) -> dict[str, float]:
        """As a JSON object."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, content: dict[str, float]) -> AgeModel:
        """Inverse of `to_json`."""
        return cls(**content)


def train_age(age: np.ndarray, idh: np.ndarray, *, balance: bool) -> AgeModel:
    """Fit by maximum likelihood with a light ridge (scikit-learn's, C = 100).

    Args:
        age: years [n], finite; idh: [n], 0 or 1.
    """
    from sklearn.linear_model import LogisticRegression

    centre, scale = float(age.mean()), float(age.std()) or 1.0
    weight = "balanced" if balance else None
    fitted = LogisticRegression(C=100.0, class_weight=weight).fit(
        ((age - centre) / scale)[:, None], idh.astype(int)
    )
    return AgeModel(float(fitted.intercept_[0]), float(fitted.coef_[0, 0]), centre, scale)
