"""What a profile may set about data validation."""

from __future__ import annotations

from pydantic import Field

from components.core.settings import Settings
from components.core.vocabulary import Sequence


class ValidateSettings(Settings):
    """What a patient and a cohort must be like.

    Attributes:
        sequences: sequences every patient must have.
        require_age: quarantine patients without an age (the hybrid model needs one).
        require_mask: quarantine development patients without a manual tumour mask.
        min_development: fewest accepted development patients with a known IDH status.
        folds: 1 splits the development cohort (its split column, or `splits`); K > 1 deals it into
            K folds for cross-validation, and the out-of-fold results are the internal test.
        splits: shares of training, tuning and internal test where the manifest has no split.
        seed: decides who falls into which part or fold.
        spacing_mm: smallest and largest plausible voxel size along any axis.
        field_mm: smallest and largest plausible field of view along any axis.
        min_slices: fewest slices of a usable volume.
        max_missing_slices: share of empty slices inside the head above which a volume is refused.
        min_overlap: smallest share of the T1C's box that another sequence must cover.
        mask_ml: smallest and largest plausible tumour.
        workers: processes that read images.
    """

    sequences: tuple[Sequence, ...] = (Sequence.T1C, Sequence.T2, Sequence.FLAIR)
    require_age: bool = True
    require_mask: bool = False
    min_development: int = Field(20, ge=4)
    folds: int = Field(1, ge=1, le=20)
    splits: tuple[float, float, float] = (0.696, 0.153, 0.151)
    seed: int = 0
    spacing_mm: tuple[float, float] = (0.2, 10.0)
    field_mm: tuple[float, float] = (90.0, 400.0)
    min_slices: int = Field(10, ge=3)
    max_missing_slices: float = Field(0.5, ge=0.0, le=1.0)
    min_overlap: float = Field(0.5, ge=0.0, le=1.0)
    mask_ml: tuple[float, float] = (0.1, 600.0)
    workers: int = Field(2, ge=1)
