"""The tensors of the ensemble that takes image files, and their names between its models."""

from __future__ import annotations

from dataclasses import replace

from components.core.vocabulary import Sequence
from components.release.tensors import (
    AGE_YEARS,
    FEATURE_VALUES,
    FREE,
    MASK,
    OOD,
    PROBABILITY,
    RELEASE,
    SLICE_INDICES,
    SLICE_PROBABILITIES,
    STATUS,
    TUMOR_ML,
    UNCERTAINTY,
    WARNINGS,
    DType,
    Interface,
    Step,
    Tensor,
    named_in_ensemble,
)

_FILE = "a NIfTI file (.nii, .nii.gz) or a ZIP of one DICOM series"
BRAIN_MASK = Tensor(
    "brain_mask", DType.BYTES, (1,), f"{_FILE}: the brain, in the T1C's space", optional=True
)
RESULT = Tensor("result", DType.BYTES, (1,), "the answer: JSON, UTF-8")
MASK_NIFTI = Tensor(
    "mask_nifti", DType.BYTES, (1,), "the tumour on the T1C's own grid: NIfTI, gzip"
)
MASK_DICOM = Tensor(
    "mask_dicom", DType.BYTES, (1,), "the same as DICOM SEG; empty unless the T1C was DICOM"
)
PAGE = Tensor("page", DType.UINT8, (1,), "1 asks for `page_html`", optional=True)
PAGE_HTML = Tensor(
    "page_html", DType.BYTES, (1,), "the answer for people: HTML; empty unless asked for"
)
HEADER = Tensor("case", DType.UINT8, (FREE,), "what is known of the case: JSON, UTF-8")

_ANSWERED = (
    PROBABILITY, SLICE_PROBABILITIES, UNCERTAINTY, OOD, STATUS, WARNINGS, RELEASE,
    SLICE_INDICES, MASK, FEATURE_VALUES, TUMOR_ML,
)  # fmt: skip


def image_file(sequence: Sequence) -> Tensor:
    """The file of one sequence in a request."""
    return Tensor(sequence.value, DType.BYTES, (1,), _FILE)


def image_inputs(interface: Interface) -> tuple[Tensor, ...]:
    """Inputs of the ensemble: a file for each sequence that the release prepares, and the age."""
    prepared = interface.prepared or interface.sequences
    return (*(image_file(sequence) for sequence in prepared), AGE_YEARS, BRAIN_MASK, PAGE)


def prepared_tensors(interface: Interface) -> tuple[Tensor, ...]:
    """A prepared patient, between the first model and the others."""
    return tuple(_prepared(tensor) for tensor in interface.inputs())


def image_outputs() -> tuple[Tensor, ...]:
    """Outputs of the ensemble."""
    return RESULT, MASK_NIFTI, MASK_DICOM, PAGE_HTML


def model_inputs(interface: Interface, step: Step) -> tuple[Tensor, ...]:
    """Inputs of one model, whichever ensemble it is in."""
    if step is Step.PREPARE:
        return tuple(tensor for tensor in image_inputs(interface) if tensor is not PAGE)
    if step is Step.FINISH:
        return (*_ANSWERED, *prepared_tensors(interface), HEADER, image_file(Sequence.T1C), PAGE)
    if step is Step.ANSWER:
        return (*interface.inputs(step), replace(HEADER, optional=True))
    return interface.inputs(step)


def model_outputs(interface: Interface, step: Step) -> tuple[Tensor, ...]:
    """Outputs of one model, whichever ensemble it is in."""
    if step is Step.PREPARE:
        return (*prepared_tensors(interface), HEADER)
    if step is Step.FINISH:
        return image_outputs()
    return interface.outputs(step)


def named_among_images(interface: Interface, step: Step, tensor: Tensor) -> str:
    """A model's tensor under its name in the ensemble that takes image files.

    There, t1c, t2, flair and age are what the client sent: what was prepared of them has names of
    its own.
    """
    if step in (Step.PREPARE, Step.FINISH):
        return tensor.name
    name = named_in_ensemble(step, tensor).name
    taken = {each.name for each in interface.inputs()}
    return _prepared(tensor).name if name in taken else name


def _prepared(tensor: Tensor) -> Tensor:
    return replace(tensor, name=f"prepared_{tensor.name}")
