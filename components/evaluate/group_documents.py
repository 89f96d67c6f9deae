"""Parts of evaluation.json: figures with intervals, subgroups, and conformal coverage."""

from __future__ import annotations

from components.core.settings import Document

Number = int | float | None


class IntervalEntry(Document):
    """Ends of a confidence interval."""

    low: Number
    high: Number


class EstimateEntry(IntervalEntry):
    """A figure and its confidence interval."""

    value: Number


class Group(Document):
    """The hybrid in one subgroup; `too_small` says why its figures show nothing, or is empty."""

    attribute: str
    group: str
    patients: int
    mutant: int
    accuracy: EstimateEntry
    auroc: EstimateEntry
    auroc_se: Number = None
    sensitivity: EstimateEntry
    specificity: EstimateEntry
    too_small: str


class AreaDifference(EstimateEntry):
    """Difference of two AUROCs of different patients, with its test."""

    p: Number


class GapReasons(Document):
    """What a gap in accuracy is made of.

    Attributes:
        p: of Fisher's exact test: chance.
        detectable: smallest gap that groups of these sizes show with a power of 0.8.
        prevalence, sensitivity, specificity: its parts; they add up to it.
        auroc: of the same two groups: free of any threshold.
        reading: the same in words.
    """

    p: Number
    detectable: Number
    prevalence: Number
    sensitivity: Number
    specificity: Number
    auroc: AreaDifference
    reading: str


class Gap(Document):
    """Largest difference between two subgroups of one attribute; `reasons` of accuracy alone."""

    attribute: str
    measure: str
    best: str
    worst: str
    gap: EstimateEntry
    reasons: GapReasons | None = None


class Subgroups(Document):
    """Subgroups of one set."""

    groups: list[Group]
    gaps: list[Gap]


class ClassCoverage(Document):
    """How many patients of a class have their status in the set; `p`: against fewer than level."""

    patients: int
    covered: EstimateEntry
    p: Number


class ConformalCoverage(Document):
    """The hybrid's conformal sets on patients who did not calibrate them."""

    level: float
    sets: dict[str, int]
    classes: dict[str, ClassCoverage]
