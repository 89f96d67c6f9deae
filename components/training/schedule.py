"""Learning rates: the cosine that both networks' schedules fall by, and setting a rate.

torch's LambdaLR multiplies the base rate by a factor computed beforehand, which rounds differently
from the products here: the weights would not be the same bytes.
"""

from __future__ import annotations

import math

from torch.optim import Optimizer


def half_cosine(done: float) -> float:
    """Share of the full rate after the share `done` of the fall: 1 at 0, 0 at 1."""
    return 0.5 * (1.0 + math.cos(math.pi * done))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Use one rate for all parameters from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = rate
