"""Which numeric features are kept, and how they are standardised: learnt from training alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from components.core.errors import BadInput
from components.core.vocabulary import FEATURE_NAMES


@dataclass(frozen=True)
class Selection:
    """Features kept from FEATURE_NAMES.

    Attributes:
        indices: positions in FEATURE_NAMES, rising.
        p_values: two-sided P of each of the 24 features; 1 for a constant one.
        mean, sd: of the kept features over the training patients.
    """

    indices: np.ndarray
    p_values: np.ndarray
    mean: np.ndarray
    sd: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the kept features."""
        return tuple(FEATURE_NAMES[i] for i in self.indices)

    def standardise(self, features: np.ndarray) -> np.ndarray:
        """[n, 24] raw -> [n, kept] with training mean 0 and SD 1."""
        return (features[:, self.indices] - self.mean) / self.sd


def select(features: np.ndarray, idh: np.ndarray, level: float) -> Selection:
    """Univariate t-test of every feature against IDH (method.md, numeric features).

    Welch's test, which does not assume equal variances. A feature that is constant in the training
    patients is never kept, whatever the level. Where no feature passes, the one of smallest P is.

    Args:
        features: [n, 24], finite.
        idh: [n], 0 or 1.
        level: keep features with P below it; 1 keeps all that vary.

    Raises:
        BadInput: every feature is constant.
    """
    varies = features.std(axis=0) > 1e-9 * np.maximum(np.abs(features).max(axis=0), 1.0)
    if not varies.any():
        raise BadInput("features.csv", "every feature is constant", "check the masks")
    p_values = np.ones(features.shape[1])
    with np.errstate(all="ignore"):
        test = stats.ttest_ind(
            features[idh == 1][:, varies], features[idh == 0][:, varies], equal_var=False
        )
    p_values[varies] = np.where(np.isfinite(test.pvalue), test.pvalue, 1.0)
    kept = varies & ((p_values < level) | (level >= 1.0))
    if not kept.any():
        kept[int(np.where(varies, p_values, np.inf).argmin())] = True
    indices = np.flatnonzero(kept)
    chosen = features[:, indices]
    return Selection(indices, p_values, chosen.mean(axis=0), chosen.std(axis=0))
