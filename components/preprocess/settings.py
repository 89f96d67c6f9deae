"""What a profile may set about preprocessing."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from components.cohort.image_checks.checks import ImageLimits
from components.core.settings import Settings
from components.core.vocabulary import Sequence

Positive = Annotated[float, Field(gt=0.0)]


class Aligned(StrEnum):
    """What to make of sequences that already share one voxel grid."""

    DETECT = "detect"
    """Skip their alignment when the identity is the best of its neighbourhood."""

    NEVER = "never"
    """Align them like any other."""


_RELAXATION = 0.6


class AlignSettings(Settings):
    """Alignment by mutual information, from coarse to fine.

    Attributes:
        degrees_of_freedom: 6 (rigid) or 12 (affine) between the sequences of one patient.
        levels_mm: voxel size of each level of the pyramid, coarse to fine.
        affine_from_mm: an affine stage follows the rigid one on levels this fine or finer.
        bins: histogram bins of the mutual information.
        samples: about how many voxels a metric evaluation reads, on a regular raster.
        iterations: most optimiser steps a level.
        starts: most starts that are optimised on the coarsest level, best first.
        second_opinion: similarity, in nats, below which all starts are tried on the next level too.
        relaxation: by what the optimiser's step shrinks where the way turns back; 0.8 comes closer
            to the best place. Left out of the plan at its default, so that older plans keep their
            digests.
        search: end the rigid stage by a search without gradients on the finest level: half the
            error, for half as much time again. Left out of the plan where it is off, as above.
    """

    degrees_of_freedom: Literal[6, 12] = 6
    levels_mm: tuple[Positive, ...] = (8.0, 4.0, 2.0)
    affine_from_mm: Positive = 4.0
    bins: int = Field(default=32, ge=8, le=128)
    samples: int = Field(default=60_000, ge=2_000)
    iterations: int = Field(default=60, ge=5)
    starts: int = Field(default=3, ge=1, le=12)
    second_opinion: float = 0.25
    relaxation: float = Field(
        default=_RELAXATION, gt=0.0, lt=1.0, exclude_if=lambda value: value == _RELAXATION
    )
    search: bool = Field(default=False, exclude_if=lambda value: not value)

    @field_validator("levels_mm")
    @classmethod
    def _falls(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if not levels or list(levels) != sorted(levels, reverse=True):
            raise ValueError("levels_mm must fall, e.g. [8, 4, 2]")
        return levels


class BrainBackend(StrEnum):
    """Where the brain mask comes from."""

    DEEPBET = "deepbet"
    """deepbet: its networks are part of its package, nothing is downloaded."""

    HDBET = "hdbet"
    """HD-BET, where its package and its weights are installed."""

    GIVEN = "given"
    """The mask named in the manifest's column brain_mask, or images stripped already."""


class BrainSettings(Settings):
    """Brain extraction on the T1C.

    Attributes:
        backend: see BrainBackend. A brain_mask in the manifest, and skull-stripped images, come
            before it.
        plausible_ml: brain volumes (mL) outside are not carried on; the limits are those of adults.
    """

    backend: BrainBackend = BrainBackend.DEEPBET
    plausible_ml: tuple[float, float] = (900.0, 1900.0)


class BiasMethod(StrEnum):
    """How the bias field is found."""

    SEPARABLE = "separable"
    """N4's iteration with its B-spline fit factored along the axes: the same field, far sooner."""

    N4 = "n4"
    """ITK's N4."""

    NONE = "none"
    """No correction."""


class BiasSettings(Settings):
    """Bias correction of each sequence.

    Attributes:
        spacing_mm: voxel size at which the field is fitted ("shrink" of a 1-mm image).
        iterations: most iterations of each level; the mesh is halved from level to level.
        tolerance: a level ends when the coefficient of variation of the change falls below it.
        spline_mm: distance of the coarsest mesh's knots (authors: 300 mm).

    The authors' setting is method n4, spacing_mm 2, iterations (100, 100, 100, 100).
    """

    method: BiasMethod = BiasMethod.SEPARABLE
    spacing_mm: Positive = 4.0
    iterations: tuple[int, ...] = (100, 100, 100, 100)
    tolerance: float = Field(default=1e-6, gt=0.0)
    spline_mm: Positive = 300.0


class AtlasSettings(Settings):
    """The atlas of the nine loci.

    Attributes:
        source: "neuromorphometrics" (CC BY-NC), or "own" with `path`.
        path: your own atlas in MNI152: a 3-D label volume, or a 4-D volume with one probability
            (or percent) map a region.
        labels: JSON file beside it: region name -> label value (3-D) or 0-based map index (4-D).
        licence: your atlas's licence, as it shall stand in the plan.
    """

    source: Literal["neuromorphometrics", "own"] = "neuromorphometrics"
    path: str | None = None
    labels: str | None = None
    licence: str | None = None

    @model_validator(mode="after")
    def _own_has_a_path(self) -> AtlasSettings:
        if (self.source == "own") != (self.path is not None and self.labels is not None):
            raise ValueError("source 'own' needs path and labels, and only it takes them")
        return self


class PreprocessSettings(Settings):
    """Everything a profile may set about preprocessing.

    Attributes:
        sequences: what every patient must have, T1C and FLAIR at least; stored in this order.
        working_mm: spacing of the isotropic grid of shape and loci features (paper: 1 mm).
        grid: voxels a side of the cubic network grid (paper: 128).
        margin_mm: rim around the brain's box along x, y, z (authors: 6, 6, 2).
        strip: set everything outside the brain to 0, as the authors do. False keeps all of the box
            for the segmenter, which then finds tumours that an imperfect brain mask would have
            cut off;
            the classifier sees brain and tumour alone either way.
        aligned: what to make of sequences on one grid.
        images: what each image must be like; a profile sets it in its section `validation`. Left
            out of the plan at its default.
        accept_implausible: prepare patients that break a limit of
            components.preprocess.quality.plausibility, too, with a warning. Not part of the plan.
        workers: processes; 0 takes one a core. Not part of the plan.
    """

    sequences: tuple[Sequence, ...] = (Sequence.T1C, Sequence.T2, Sequence.FLAIR)
    working_mm: Positive = 1.0
    grid: int = Field(default=128, ge=16, le=256)
    margin_mm: tuple[float, float, float] = (6.0, 6.0, 2.0)
    strip: bool = True
    aligned: Aligned = Aligned.DETECT
    align: AlignSettings = AlignSettings()
    mni: AlignSettings = AlignSettings(degrees_of_freedom=12)
    brain: BrainSettings = BrainSettings()
    bias: BiasSettings = BiasSettings()
    atlas: AtlasSettings = AtlasSettings()
    images: ImageLimits = Field(
        default=ImageLimits(), exclude_if=lambda limits: limits == ImageLimits()
    )
    accept_implausible: bool = False
    workers: int = Field(default=1, ge=0)

    @field_validator("sequences")
    @classmethod
    def _has_both(cls, sequences: tuple[Sequence, ...]) -> tuple[Sequence, ...]:
        if not {Sequence.T1C, Sequence.FLAIR} <= set(sequences):
            raise ValueError("sequences must hold t1c and flair: the segmenter needs them")
        return tuple(sequence for sequence in Sequence if sequence in sequences)
