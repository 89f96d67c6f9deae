"""What a profile may set about evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from components.core.settings import Settings

Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class EvaluateSettings(Settings):
    """Settings of the evaluation.

    Attributes:
        threshold: a probability at or above it is called IDH mutant (paper: 0.5).
        iterations: bootstrap iterations of every interval (paper: 2000).
        confidence: coverage of every interval.
        alpha: a P-value below it is called significant.
        seed: seed of the bootstrap.
        max_cells: distinct probabilities up to which the bootstrap is exact; above, neighbouring
            probabilities share a cell of the ranking (docs/evaluation.md says what that changes).
        calibration_bins: equal-width bins of the expected calibration error.
        age_bands, size_bands_ml, slice_bands_mm: inner borders of the subgroups of age (years),
            tumour volume and T1C slice thickness.
        min_subgroup, min_class: a subgroup with fewer patients, or fewer of either class, is
            reported as too small to say.
        margin: AUROC by which a model may be worse and still count as non-inferior.
        gallery: false positives and false negatives shown of each set.
        worst_masks: patients named of each set for the lowest Dice.
        figures: draw figures; without them the report has tables only.
    """

    threshold: Share = 0.5
    iterations: int = Field(2000, ge=100)
    confidence: Share = 0.95
    alpha: Share = 0.05
    seed: int = Field(2021, ge=0)
    max_cells: int = Field(10_000, ge=100)
    calibration_bins: int = Field(10, ge=2, le=100)
    age_bands: tuple[float, ...] = (45.0, 60.0)
    size_bands_ml: tuple[float, ...] = (30.0, 100.0)
    slice_bands_mm: tuple[float, ...] = (1.5, 4.0)
    min_subgroup: int = Field(20, ge=2)
    min_class: int = Field(5, ge=1)
    margin: Share = 0.05
    gallery: int = Field(5, ge=0, le=50)
    worst_masks: int = Field(5, ge=0, le=50)
    figures: bool = True

    @field_validator("age_bands", "size_bands_ml", "slice_bands_mm")
    @classmethod
    def _increase(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError("borders must increase")
        return value
