"""Facts about one patient's images: numbers that expectations judge, measured without judging."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from components.cohort.images import read_image
from components.cohort.manifest import Patient
from components.core.errors import BadInput, Outage
from components.core.s3 import local_copy
from components.core.vocabulary import Sequence
from components.validate.images import geometry


@dataclass(frozen=True)
class ImageFacts:
    """What is known of one image of one patient; numbers are None where it could not be read.

    Attributes:
        role: "t1c", "t2", "flair" or "tumor_mask".
        error: why it could not be read ("" where it could); remedy: how to mend that.
        digest: sha256 of voxel values and geometry: equal for a copied image under another name.
        content: sha256 of the voxel values alone: equal for a copied channel.
        missing_slices: share of slices that hold a single value.
        drawn_slices: slices with anything above zero.
        overlap: share of the T1C's field of view inside this image's; of a mask, the share of
            what is drawn that lies inside the T1C's.
        foreground: share of voxels above zero; volume_ml: their volume.
        levels: number of different values on a sample of slices: few in a mask.
        background: brightness of the air in the corners, as a share of the bright tissue's.
        glare: how many times brighter than the tissue around the brightest of the brain is.
        tilt: degrees between the image's axes and the body's.
        cut_head: share of an in-plane face that is head: above zero where the head goes on.
        empty_corners: how far the corners differ in exact zeros: a turned image, resampled.
        oriented: 0 where the header does not say which way the patient lies.
    """

    patient_id: str
    role: str
    path: str
    error: str = ""
    remedy: str = ""
    digest: str = ""
    content: str = ""
    slices: int | None = None
    spacing_min: float | None = None
    spacing_max: float | None = None
    field_min: float | None = None
    field_max: float | None = None
    anisotropy: float | None = None
    spread: float | None = None
    missing_slices: float | None = None
    drawn_slices: int | None = None
    overlap: float | None = None
    foreground: float | None = None
    volume_ml: float | None = None
    levels: int | None = None
    background: float | None = None
    glare: float | None = None
    tilt: float | None = None
    cut_head: float | None = None
    empty_corners: float | None = None
    oriented: int | None = None


MASK = "tumor_mask"


def patient_facts(patient: Patient, required: tuple[Sequence, ...]) -> list[ImageFacts]:
    """Measure the images of one patient that the profile requires, and the mask if there is one.

    An image that is required and absent has a fact with an error; an absent mask has none.
    """
    wanted: list[tuple[str, str | None]] = [(s.value, patient.path_of(s)) for s in required]
    if patient.tumor_mask:
        wanted.append((MASK, patient.tumor_mask))
    reference: sitk.Image | None = None
    facts = []
    for role, path in wanted:
        image, fact = _read(patient.patient_id, role, path)
        if image is not None:
            reference = image if reference is None else reference
            fact = _measure(fact, image, reference)
        facts.append(fact)
    return facts


def _read(patient_id: str, role: str, path: str | None) -> tuple[sitk.Image | None, ImageFacts]:
    if not path:
        remedy = f"fill column {role}, or use a profile that does without"
        return None, ImageFacts(patient_id, role, "", "not in the manifest", remedy)
    try:
        return read_image(path), ImageFacts(patient_id, role, path)
    except Outage:
        raise
    except BadInput as error:
        return None, ImageFacts(patient_id, role, path, error.problem, error.remedy)


def _measure(fact: ImageFacts, image: sitk.Image, reference: sitk.Image) -> ImageFacts:
    array = sitk.GetArrayViewFromImage(image)
    spacing = np.array(image.GetSpacing())
    extent = spacing * np.array(image.GetSize())
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes())
    placed = np.round([*spacing, *image.GetOrigin(), *image.GetDirection()], 3)
    positive = array > 0
    axis = geometry.slice_axis(image)
    stack = geometry.slices_first(array, axis)
    inside = geometry.drawn_inside if fact.role == MASK else geometry.overlap
    return replace(
        fact,
        digest=hashlib.sha256(content.digest() + placed.tobytes()).hexdigest(),
        content=content.hexdigest(),
        slices=int(image.GetSize()[axis]),
        spacing_min=float(spacing.min()),
        spacing_max=float(spacing.max()),
        field_min=float(extent.min()),
        field_max=float(extent.max()),
        anisotropy=float(spacing.max() / spacing.min()),
        spread=float(array.std()),
        missing_slices=geometry.missing_slices(stack),
        drawn_slices=int(geometry.slices_first(positive, axis).any(axis=(1, 2)).sum()),
        overlap=inside(image, reference),
        foreground=float(positive.mean()),
        volume_ml=float(positive.sum() * spacing.prod() / 1000.0),
        levels=len(np.unique(array[:: max(1, array.shape[0] // 16)])),
        background=geometry.background(stack),
        glare=geometry.glare(stack),
        tilt=geometry.tilt(image),
        cut_head=geometry.cut_head(stack),
        empty_corners=geometry.empty_corners(stack),
        oriented=_has_orientation(fact.path),
    )


def _has_orientation(path: str) -> int:
    """1 where the header says which way the patient lies; 0 in a NIfTI without qform and sform."""
    local = local_copy(path)
    if local.is_dir() or not local.name.endswith((".nii", ".nii.gz")):
        return 1
    header = nibabel.nifti1.load(local).header
    return int(header["qform_code"] > 0 or header["sform_code"] > 0)


def cohort_facts(
    patients: list[Patient],
    required: tuple[Sequence, ...],
    *,
    workers: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[ImageFacts]:
    """Facts of every patient, in the manifest's order; only one patient a worker is in memory."""
    facts: list[ImageFacts] = []
    for done, found in enumerate(_each(patients, required, workers), start=1):
        facts.extend(found)
        if progress:
            progress(done, len(patients), Path(found[0].path).parent.name if found else "")
    return facts


def _each(
    patients: list[Patient], required: tuple[Sequence, ...], workers: int
) -> Iterator[list[ImageFacts]]:
    if workers == 1 or len(patients) < 2 * workers:
        yield from (patient_facts(patient, required) for patient in patients)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        repeated = [required] * len(patients)
        yield from pool.map(patient_facts, patients, repeated, chunksize=4)
