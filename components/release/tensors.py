"""The one source of names, shapes and types of every tensor that crosses Triton.

config.pbtxt files, the Python models, the client and its checks are all made from `Interface`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from components.core.vocabulary import FEATURE_NAMES, QUANTILES, SLICE_OFFSETS, Sequence, Status

ENSEMBLE = "glioma_idh"
"""The model for clients that prepare a patient themselves."""

IMAGES_ENSEMBLE = "glioma_idh_images"
"""The model for clients that send image files; see components.release.image_tensors."""

ENSEMBLES = (ENSEMBLE, IMAGES_ENSEMBLE)

FREE = -1
"""A dimension that differs from request to request."""

SLICES = len(SLICE_OFFSETS)
FEATURES = len(FEATURE_NAMES)


class Step(StrEnum):
    """The ensembles' models, in the order in which a request passes them."""

    PREPARE = "prepare"
    CHECK = "check"
    SEGMENTER = "segmenter"
    FEATURE_SLICE = "feature_slice_step"
    CLASSIFIER = "classifier"
    ANSWER = "answer"
    FINISH = "finish"


PREPARED_STEPS = (Step.CHECK, Step.SEGMENTER, Step.FEATURE_SLICE, Step.CLASSIFIER, Step.ANSWER)
"""Models of the ensemble for prepared patients; the other one puts PREPARE and FINISH around."""


class DType(StrEnum):
    """Element types, as Triton's wire protocol writes them; config.pbtxt prefixes TYPE_."""

    UINT8 = "UINT8"
    INT32 = "INT32"
    FLOAT32 = "FP32"
    FLOAT64 = "FP64"
    BYTES = "BYTES"

    @property
    def numpy(self) -> np.dtype:
        """The same type in numpy."""
        return np.dtype(_NUMPY[self])


_NUMPY = {
    DType.UINT8: np.uint8,
    DType.INT32: np.int32,
    DType.FLOAT32: np.float32,
    DType.FLOAT64: np.float64,
    DType.BYTES: np.object_,
}

STATUS_CODES: dict[Status, int] = {status: code for code, status in enumerate(Status)}
"""Statuses cross Triton as int32: ok 0, no_tumor 1, abstain 2."""

NO_NUMBER = -1.0
"""Where there is no number: NaN is not JSON, and every output that can lack one is 0 or more."""

CANARY_ID = "canary"
"""Request id of a client that asks whether the ensemble answers; it is no patient."""


@dataclass(frozen=True)
class Tensor:
    """One tensor.

    Attributes:
        name: as clients and models say it.
        dtype: element type.
        shape: array shape, axes z, y, x where there are three; FREE where it may differ. Of a
            batching model: the shape of one item.
        meaning: for readers of the documentation.
        optional: whether a request may leave it out.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    meaning: str = ""
    optional: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of one tensor of a fixed shape."""
        return math.prod(self.shape) * self.dtype.numpy.itemsize


@dataclass(frozen=True)
class Interface:
    """The tensors of one release.

    Attributes:
        grid: voxels a side of the cubic network grid.
        segmenter: sequences that the segmenter reads, in channel order.
        channels: sequences of the classifier's image, in channel order.
        stripped: whether volumes are 0 outside the brain.
        prepared: sequences of the preprocessing plan; empty: those that the networks read.
    """

    grid: int
    segmenter: tuple[Sequence, ...]
    channels: tuple[Sequence, Sequence]
    stripped: bool = True
    prepared: tuple[Sequence, ...] = ()

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        """Sequences that a request holds, in the vocabulary's order."""
        return tuple(s for s in Sequence if s in (*self.segmenter, *self.channels))

    @property
    def cube(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of a volume."""
        return (self.grid,) * 3

    def volume(self, sequence: Sequence) -> Tensor:
        """The volume of one sequence in a request."""
        meaning = "z-scores over the brain on the network grid (z, y, x)"
        meaning += ", 0 outside the brain" if self.stripped else ""
        return Tensor(sequence.value, DType.FLOAT32, self.cube, meaning)

    @property
    def brain(self) -> Tensor:
        """Brain mask of a request."""
        return Tensor("brain", DType.UINT8, self.cube, "1 in the brain, 0 outside (z, y, x)")

    @property
    def probability_map(self) -> Tensor:
        """The segmenter's answer."""
        return Tensor("probability", DType.FLOAT32, self.cube, "tumour probability (z, y, x)")

    @property
    def stack(self) -> Tensor:
        """The segmenter's channels."""
        shape = (len(self.segmenter), *self.cube)
        return Tensor("volumes", DType.FLOAT32, shape, "channels in the segmenter's order")

    @property
    def intensities(self) -> Tensor:
        """What is recorded of the volumes' brightness."""
        shape = (len(self.sequences), len(QUANTILES))
        return Tensor("intensities", DType.FLOAT32, shape, "quantiles of the z-scores in the brain")

    @property
    def images(self) -> Tensor:
        """The classifier's images of one patient."""
        shape = (SLICES, 3, self.grid, self.grid)
        return Tensor("images", DType.FLOAT32, shape, "five slices: two sequences and the mask")

    def inputs(self, model: Step | None = None) -> tuple[Tensor, ...]:
        """Inputs of one model; of the ensemble when `model` is None."""
        volumes = {s: self.volume(s) for s in self.sequences}
        everything = (*volumes.values(), self.brain, AGE_YEARS, GRID_AFFINE, TO_MNI, PLAN)
        place = (AGE_YEARS, GRID_AFFINE, TO_MNI)
        probability = named_in_ensemble(Step.SEGMENTER, self.probability_map)
        classified = [_one_item(named_in_ensemble(Step.CLASSIFIER, t)) for t in CLASSIFIED]
        channels = tuple(volumes[s] for s in self.channels)
        recorded = (INPUT_DIGEST, self.intensities, FEATURE_VALUES)
        return {
            None: everything,
            Step.CHECK: everything,
            Step.SEGMENTER: (self.stack, self.brain),
            Step.FEATURE_SLICE: (probability, *channels, self.brain, *place),
            Step.CLASSIFIER: (self.images, CLASSIFIER_FEATURES),
            Step.ANSWER: (FOUND, NOTES, *recorded, *classified),
        }[model]

    def outputs(self, model: Step | None = None) -> tuple[Tensor, ...]:
        """Outputs of one model; of the ensemble when `model` is None."""
        batch = (
            [_one_item(named_in_ensemble(Step.CLASSIFIER, t)) for t in self.inputs(Step.CLASSIFIER)]
            if model is Step.FEATURE_SLICE
            else []
        )
        return {
            None: self.answers(),
            Step.CHECK: (self.stack, INPUT_DIGEST, self.intensities),
            Step.SEGMENTER: (self.probability_map,),
            Step.FEATURE_SLICE: (*batch, *_FROM_STEP, FOUND, NOTES),
            Step.CLASSIFIER: CLASSIFIED,
            Step.ANSWER: _FINAL,
        }[model]

    @staticmethod
    def answers() -> tuple[Tensor, ...]:
        """Outputs of the ensemble, the same of every release."""
        return (*_FINAL, *_FROM_STEP)


def named_in_ensemble(model: Step, tensor: Tensor) -> Tensor:
    """A model's tensor under the name that it has between the ensemble's models.

    The networks' own names are those of their ONNX files, which do not know each other.
    """
    return replace(tensor, name=_BETWEEN.get((model, tensor.name), tensor.name))


def _one_item(tensor: Tensor) -> Tensor:
    """A tensor of a batching model as its neighbours see it: a batch of one patient."""
    return replace(tensor, shape=(1, *(tensor.shape or (1,))))


_BETWEEN = {
    (Step.SEGMENTER, "probability"): "tumor_probability",
    (Step.CLASSIFIER, "images"): "batch_images",
    (Step.CLASSIFIER, "features"): "batch_features",
    (Step.CLASSIFIER, "probability"): "classifier_probability",
    (Step.CLASSIFIER, "slice_probability"): "classifier_slice_probability",
    (Step.CLASSIFIER, "uncertainty"): "classifier_uncertainty",
    (Step.CLASSIFIER, "ood"): "classifier_ood",
}

AGE_YEARS = Tensor("age", DType.FLOAT32, (1,), "years")
GRID_AFFINE = Tensor(
    "grid_affine", DType.FLOAT64, (4, 4), "voxel (x, y, z, 1) of the network grid -> LPS mm"
)
TO_MNI = Tensor("to_mni", DType.FLOAT64, (4, 4), "LPS mm -> LPS mm in MNI152")
PLAN = Tensor("plan", DType.UINT8, (32,), "sha256 of the preprocessing plan the inputs follow")

INPUT_DIGEST = Tensor("input_digest", DType.UINT8, (32,), "sha256 over all inputs")
CLASSIFIER_FEATURES = Tensor("features", DType.FLOAT32, (FEATURES,), "numeric features, raw")
FOUND = Tensor("found", DType.INT32, (1,), "status of the feature/slice step")
NOTES = Tensor("notes", DType.UINT8, (FREE,), "JSON list of sentences, UTF-8")
CLASSIFIED = (
    Tensor("probability", DType.FLOAT32, (), "of IDH mutation"),
    Tensor("slice_probability", DType.FLOAT32, (SLICES,), "the same of each slice"),
    Tensor("uncertainty", DType.FLOAT32, (), "disagreement of the networks"),
    Tensor("ood", DType.FLOAT32, (), "distance to the training patients"),
)

PROBABILITY = Tensor(
    "probability_idh_mutant", DType.FLOAT32, (1,), "mean over the slices; -1 without a tumour"
)
SLICE_PROBABILITIES = Tensor("slice_probabilities", DType.FLOAT32, (SLICES,), "-1 without a tumour")
UNCERTAINTY = Tensor("uncertainty", DType.FLOAT32, (1,), "disagreement; -1 without a tumour")
OOD = Tensor("ood", DType.FLOAT32, (1,), "distance to the training patients; -1 without a tumour")
STATUS = Tensor("status", DType.INT32, (1,), "0 ok, 1 no_tumor, 2 abstain")
WARNINGS = Tensor("warnings", DType.UINT8, (FREE,), "JSON list of sentences, UTF-8")
RELEASE = Tensor("release", DType.UINT8, (FREE,), "release id, ASCII")
SLICE_INDICES = Tensor(
    "slices", DType.INT32, (SLICES,), "0-based z on the network grid; -1 without a tumour"
)
MASK = Tensor("mask", DType.UINT8, (FREE, FREE, FREE), "tumour on the working grid (z, y, x)")
MASK_GZIP = Tensor("mask_gzip", DType.UINT8, (FREE,), "gzip of `mask`'s bytes, in C order")
MASK_SHAPE = Tensor("mask_shape", DType.INT32, (3,), "shape of `mask` (z, y, x)")
FEATURE_VALUES = Tensor(
    "features", DType.FLOAT64, (FEATURES,), "numeric features; -1 without a tumour"
)
TUMOR_ML = Tensor("tumor_ml", DType.FLOAT32, (1,), "tumour volume in mL")


_FINAL = (PROBABILITY, SLICE_PROBABILITIES, UNCERTAINTY, OOD, STATUS, WARNINGS, RELEASE)
_FROM_STEP = (SLICE_INDICES, MASK, MASK_GZIP, MASK_SHAPE, FEATURE_VALUES, TUMOR_ML)


def to_text(text: str) -> np.ndarray:
    """A string as a uint8 tensor."""
    return np.frombuffer(text.encode(), dtype=np.uint8).copy()


def from_text(tensor: np.ndarray) -> str:
    """Inverse of `to_text`."""
    return np.asarray(tensor, dtype=np.uint8).tobytes().decode()
