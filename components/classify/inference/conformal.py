"""Class-conditional conformal sets: which IDH statuses a probability cannot rule out.

Split conformal prediction with a quantile a class (Vovk, Gammerman and Shafer 2005, section 4.5:
Mondrian; Sadinle, Lei and Wasserman, JASA 2019). With exchangeable patients, the true status of
at least `level` of each class's patients lies in the set, however bad the classifier is. No
library: one quantile a class is less code than wrapping a classifier for one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Self

import numpy as np
from pydantic import Field

from components.core.errors import BadInput
from components.core.settings import Settings
from components.core.vocabulary import Idh

_ROUNDING = 1e-9
"""Kept off a rank before it is rounded up: 0.9 * 10 is 9, not 9.000000000000002."""


class IdhSet(StrEnum):
    """Statuses that are not ruled out."""

    MUTANT = "mutant"
    WILDTYPE = "wildtype"
    BOTH = "both"
    NONE = "none"

    @property
    def members(self) -> tuple[Idh, ...]:
        """The statuses in the set."""
        return _MEMBERS[self]


_MEMBERS = {
    IdhSet.MUTANT: (Idh.MUTANT,),
    IdhSet.WILDTYPE: (Idh.WILDTYPE,),
    IdhSet.BOTH: (Idh.MUTANT, Idh.WILDTYPE),
    IdhSet.NONE: (),
}


class ConformalCalibration(Settings):
    """What a set is made from.

    Attributes:
        level: share of each class whose true status is in the set, at least.
        mutant, wildtype: P(IDH mutant) of held-out patients of known status, ascending.
    """

    level: float = Field(gt=0.0, lt=1.0)
    mutant: tuple[float, ...]
    wildtype: tuple[float, ...]

    @classmethod
    def of(cls, level: float, probability: np.ndarray, idh: np.ndarray) -> Self:
        """Calibrate on held-out patients, arrays [n]. Raises BadInput: see `check_level`."""
        check_level(level, {status: int((idh == status).sum()) for status in Idh})
        by_class = {s: np.sort(probability[idh == s]).tolist() for s in Idh}
        return cls(level=level, mutant=by_class[Idh.MUTANT], wildtype=by_class[Idh.WILDTYPE])

    @property
    def mutant_from(self) -> float:
        """Probability from which on mutant is in the set."""
        return self.mutant[-_rank(self.level, len(self.mutant))]

    @property
    def wildtype_to(self) -> float:
        """Probability up to which wildtype is in the set."""
        return self.wildtype[_rank(self.level, len(self.wildtype)) - 1]

    def idh_set(self, probability: float) -> IdhSet:
        """The set of a patient by his P(IDH mutant)."""
        kept = {
            Idh.MUTANT: probability >= self.mutant_from,
            Idh.WILDTYPE: probability <= self.wildtype_to,
        }
        members = tuple(status for status in kept if kept[status])
        return next(found for found in IdhSet if found.members == members)


def check_level(level: float, counts: Mapping[Idh, int]) -> None:
    """Refuse a level that held-out patients cannot carry: n of a class carry n / (n + 1).

    Args:
        counts: held-out patients of each status.

    Raises:
        BadInput: names the smaller class and the highest level it carries.
    """
    scarce = min(Idh, key=lambda status: counts[status])
    fewest = counts[scarce]
    if _rank(level, fewest) > fewest:
        carried = math.floor(1000 * fewest / (fewest + 1)) / 1000
        needed = math.ceil(1 / (1 - level) - 1 - _ROUNDING)
        raise BadInput(
            f"classify.conformal, level {level:g}",
            f"{fewest} held-out {scarce.name.lower()} patients carry {carried:g} at most",
            f"lower the level, or hold out {needed} patients of each class",
        )


def _rank(level: float, patients: int) -> int:
    """Place, 1-based, of the quantile among the sorted scores; above `patients`: there is none."""
    return math.ceil((patients + 1) * level - _ROUNDING)
