"""What a phantom study may set."""

from __future__ import annotations

from pydantic import Field

from components.core.settings import Settings


class PhantomCohort(Settings):
    """One cohort to make.

    Attributes:
        name: in the study.
        site: the site it imitates.
        patients: how many.
        mutant_share: prevalence of IDH mutation; None takes the site's.
    """

    name: str
    site: str
    patients: int = Field(ge=1)
    mutant_share: float | None = Field(default=None, ge=0.0, le=1.0)


class PhantomSettings(Settings):
    """A phantom study.

    Attributes:
        cohorts: what to make; the cohort named "development" is split, the others are test sets.
        seed: same seed, same bytes.
        resolution_mm: voxel size in which anatomy and tumour are drawn. 1 mm is the maps' own; 2 mm
            is eight times cheaper, and its T1C is never finer than 2 mm.
        splits: shares of training, tuning and internal test in the development cohort; the default
            is the paper's 596 : 131 : 129.
        workers: processes; one patient each.
    """

    cohorts: tuple[PhantomCohort, ...] = ()
    seed: int = 0
    resolution_mm: float = Field(1.0, ge=1.0, le=2.0)
    splits: tuple[float, float, float] = (0.696, 0.153, 0.151)
    workers: int = Field(2, ge=1)
