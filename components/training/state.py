"""State of a training beside its tensors: progress, best score, early stop, learning curve."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainingState:
    """What a resumed training must remember; a subclass adds its own counters.

    Attributes:
        done: optimiser steps, or epochs, so far.
        best: highest tuning score so far; None before the first.
        stale: tuning scores since the best one.
        finished: nothing is left to train.
        points: rows of the learning curve, as JSON.
    """

    done: int = 0
    best: float | None = None
    stale: int = 0
    finished: bool = False
    points: list[dict[str, Any]] = field(default_factory=list)

    def record(self, score: float, patience: int) -> bool:
        """Take in one tuning score, higher is better; returns whether it is the best so far.

        `finished` is set after `patience` scores without a better one; 0 never stops early. NaN is
        never the best.
        """
        if score == score and (self.best is None or score > self.best):
            self.best, self.stale = score, 0
            return True
        self.stale += 1
        self.finished = self.finished or 0 < patience <= self.stale
        return False
