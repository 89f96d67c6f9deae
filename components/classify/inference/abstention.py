"""The abstention rule: which patients get no answer that is to be relied on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AbstentionLimits:
    """When a patient is not answered. NaN is beyond every limit.

    Attributes:
        uncertainty: largest disagreement of the networks that is answered.
        ood: largest distance to the training patients that is answered.
    """

    uncertainty: float
    ood: float

    def unsure(self, uncertainty: float | np.ndarray) -> np.ndarray:
        """Whether the networks disagree too much; of the input's shape."""
        return np.logical_not(np.less_equal(uncertainty, self.uncertainty))

    def unlike(self, ood: float | np.ndarray) -> np.ndarray:
        """Whether a patient is too far from the training patients; of the input's shape."""
        return np.logical_not(np.less_equal(ood, self.ood))

    def reasons(self, uncertainty: float, ood: float) -> list[str]:
        """Why one patient is not answered, as sentences for readers; empty where he is."""
        reasons = []
        if self.unsure(uncertainty):
            reasons.append(
                f"abstains: the networks disagree by {uncertainty:.3f}, "
                f"above {self.uncertainty:.3f}"
            )
        if self.unlike(ood):
            reasons.append(
                f"abstains: {ood:.1f} times as far from the training patients as 95 % of held-out "
                f"ones, above {self.ood:.1f}"
            )
        return reasons
