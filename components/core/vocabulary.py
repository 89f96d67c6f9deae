"""The words of the field, each in one place: sequences, labels, regions, features, outcomes."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Sequence(StrEnum):
    """MRI sequences, in the order in which every stack of channels holds them."""

    T1C = "t1c"
    T2 = "t2"
    FLAIR = "flair"


SEQUENCE_TITLES = {Sequence.T1C: "T1C", Sequence.T2: "T2", Sequence.FLAIR: "FLAIR"}
"""How readers see each sequence named."""


class Idh(IntEnum):
    """IDH mutation status; an unknown status is None, never a third value."""

    WILDTYPE = 0
    MUTANT = 1


class Sex(StrEnum):
    """Sex as manifests write it."""

    MALE = "M"
    FEMALE = "F"


class Split(StrEnum):
    """Parts of the development cohort (paper: training 596, tuning 131, internal test 129)."""

    TRAINING = "training"
    TUNING = "tuning"
    INTERNAL = "internal"


LEARNT = (Split.TRAINING.value, Split.TUNING.value)
"""Parts that are learnt from: never a test set."""

DEVELOPMENT = "development"
"""Name of the cohort that is learnt from; every other cohort is a test set."""


class Origin(StrEnum):
    """Where images come from; also what a model says it was `trained_on`."""

    PHANTOMS = "phantoms"
    PATIENTS = "patients"


class Status(StrEnum):
    """Outcome of one prediction. `no_tumor` and `abstain` are answers, not errors."""

    OK = "ok"
    NO_TUMOR = "no_tumor"
    ABSTAIN = "abstain"


SALIENCY_PARTS = ("inside", "rim", "elsewhere")
"""Parts of the brain, seen from the tumour, whose shares of the saliency are reported."""

CLIP_SD = 5.0
"""z-scores are cut at this many SDs, and [-CLIP_SD, CLIP_SD] becomes [0, 1] (method.md)."""


class Model(StrEnum):
    """Classifiers carried through every evaluation: the hybrid and the paper's comparators."""

    HYBRID = "hybrid"
    RESNET = "resnet"
    RADIOMICS = "radiomics"
    AGE = "age"


SHAPE_FEATURES: tuple[str, ...] = (
    "Elongation", "Flatness", "LeastAxisLength", "MajorAxisLength", "Maximum2DDiameterColumn",
    "Maximum2DDiameterRow", "Maximum2DDiameterSlice", "Maximum3DDiameter", "MeshVolume",
    "MinorAxisLength", "Sphericity", "SurfaceArea", "SurfaceVolumeRatio", "VoxelVolume",
)  # fmt: skip
"""pyradiomics' 3-D shape features, mm-based, as its `shape` class writes them."""

REGIONS: tuple[str, ...] = (
    "Caudate", "Cerebellum", "Frontal Lobe", "Insula", "Occipital Lobe", "Parietal Lobe",
    "Putamen", "Temporal Lobe", "Thalamus",
)  # fmt: skip
"""Loci features: percent of the tumour in each region. A label atlas codes REGIONS[i] as i + 1."""

AGE = "age"

FEATURE_NAMES: tuple[str, ...] = (*SHAPE_FEATURES, *REGIONS, AGE)
"""The 24 numeric features in the order every feature vector holds them."""

SLICE_OFFSETS: tuple[int, ...] = (-4, -2, 0, 2, 4)
"""Axial offsets, in slices of the network grid, from the slice of largest tumour area."""

SLICE_TITLES = tuple("largest area" if o == 0 else f"{o:+d} slices" for o in SLICE_OFFSETS)
"""How readers see each slice named."""

QUANTILES = {"low": 0.05, "middle": 0.5, "high": 0.95}
"""Which z-scores over the brain are recorded of each sequence, to be watched for drift."""
