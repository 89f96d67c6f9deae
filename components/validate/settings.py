"""What a profile may set about data validation."""

from __future__ import annotations

from pydantic import Field

from components.cohort.image_checks.checks import ImageLimits
from components.core.vocabulary import Sequence


class ValidateSettings(ImageLimits):
    """What a patient and a cohort must be like, beside each image.

    Attributes:
        sequences: sequences every patient must have.
        require_age: quarantine patients without an age (the hybrid model needs one).
        require_mask: quarantine development patients without a manual tumour mask.
        min_development: fewest accepted development patients with a known IDH status.
        folds: 1 splits the development cohort (its split column, or `splits`); K > 1 deals it into
            K folds for cross-validation, and the out-of-fold results are the internal test.
        splits: shares of training, tuning and internal test where the manifest has no split.
        seed: decides who falls into which part or fold.
        workers: processes that read images.
    """

    sequences: tuple[Sequence, ...] = (Sequence.T1C, Sequence.T2, Sequence.FLAIR)
    require_age: bool = True
    require_mask: bool = False
    min_development: int = Field(20, ge=4)
    folds: int = Field(1, ge=1, le=20)
    splits: tuple[float, float, float] = (0.696, 0.153, 0.151)
    seed: int = 0
    workers: int = Field(2, ge=1)
