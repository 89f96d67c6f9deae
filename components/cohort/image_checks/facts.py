"""Facts about one patient's images: numbers that expectations judge, measured without judging."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from components.cohort.image_checks import geometry
from components.cohort.images import image_digest, read_noted
from components.cohort.manifest import BRAIN_MASK, Patient
from components.cohort.masks import off_grid_mm, read_mask
from components.core.errors import BadInput, Outage, Unreachable
from components.core.imaging.grid import Grid
from components.core.vocabulary import Sequence


@dataclass(frozen=True)
class ImageFacts:
    """What is known of one image of one patient; numbers are None where it could not be read.

    Attributes:
        role: "t1c", "t2", "flair", "tumor_mask" or "brain_mask".
        error: why it could not be read ("" where it could); remedy: how to mend that.
        unreachable: it is not there, or may not be opened.
        file_sha256: of its bytes as read, see `image_digest`.
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
        off_mm: how far a mask of the T1C's size lies from it (mm at the worst corner); 0 for one on
            the grid of any of the sequences; of a brain mask, from the T1C's alone.
        in_head: share of what is drawn that lies where the T1C is no air.
        notes: what was mended while reading, in words.
    """

    patient_id: str
    role: str
    path: str
    error: str = ""
    remedy: str = ""
    unreachable: bool = False
    file_sha256: str = ""
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
    off_mm: float | None = None
    in_head: float | None = None
    notes: str = ""


_SAME_CORRELATION = 0.9995
"""Of the voxels of two images; above it one is the other, scaled."""

MASK = "tumor_mask"
MASKS = (MASK, BRAIN_MASK)


def masks_of(patient: Patient) -> dict[str, str]:
    """Role -> path of the masks that a patient has: of the tumour, of the brain."""
    paths = {MASK: patient.tumor_mask, BRAIN_MASK: patient.extra.get(BRAIN_MASK)}
    return {role: path for role, path in paths.items() if path}


def patient_facts(patient: Patient, required: tuple[Sequence, ...]) -> list[ImageFacts]:
    """Measure the images of one patient that the profile requires, and the masks that there are.

    An image that is required and absent has a fact with an error; an absent mask has none.
    """
    facts, images = [], {}
    for sequence in required:
        image, fact = _read(patient.patient_id, sequence.value, patient.path_of(sequence))
        if image is not None:
            images[sequence.value] = image
            fact = measure_volume(fact, image, next(iter(images.values())))
            # A T1C that cannot be read has an error of its own.
            fact = of_one_person(fact, patient.t1c if Sequence.T1C.value in images else None)
        facts.append(fact)
    facts = twins_told(facts, images)
    for role, path in masks_of(patient).items():
        mask, fact = _read(patient.patient_id, role, path)
        if mask is not None:
            fact = measure_mask(fact, mask, list(images.values()))
        facts.append(fact)
    return facts


def _read(patient_id: str, role: str, path: str | None) -> tuple[sitk.Image | None, ImageFacts]:
    if not path:
        remedy = f"fill column {role}, or use a profile that does without"
        return None, ImageFacts(patient_id, role, "", "not in the manifest", remedy)
    try:
        image, notes = (read_mask(path), ()) if role in MASKS else read_noted(path)
        fact = ImageFacts(patient_id, role, path, notes="; ".join(notes))
        return image, replace(fact, file_sha256=image_digest(path))
    except Outage:
        raise
    except BadInput as error:
        unreachable = isinstance(error, Unreachable)
        return None, ImageFacts(patient_id, role, path, error.problem, error.remedy, unreachable)


def twins_told(facts: Iterable[ImageFacts], images: Mapping[str, sitk.Image]) -> list[ImageFacts]:
    """The facts of a patient's sequences, with an error where one holds the image of another.

    It would teach a network a sequence that is not there. Another header, another order of the axes
    and another scale of the brightness hide nothing.
    """
    found = list(facts)
    for index, fact in enumerate(found):
        for first in found[:index]:
            if fact.error or not {fact.role, first.role} <= set(images):
                continue
            if _are_twins(images[fact.role], images[first.role]):
                remedy = f"give the true {fact.role}: one was exported under both names"
                error = f"the same image as the {first.role}"
                found[index] = fact = replace(fact, error=error, remedy=remedy)
    return found


def _are_twins(one: sitk.Image, two: sitk.Image) -> bool:
    a, b = (sitk.GetArrayViewFromImage(image) for image in (one, two))
    if np.array_equal(a, b):
        return True
    turned = [sitk.DICOMOrient(image, "LPS") for image in (one, two)]
    a, b = (sitk.GetArrayViewFromImage(image) for image in turned)
    if a.shape != b.shape:
        return False
    a, b = (values[::2, ::3, ::3].ravel() for values in (a, b))
    if not (np.ptp(a) and np.ptp(b)):
        return False
    return bool(np.corrcoef(a, b)[0, 1] > _SAME_CORRELATION)


def of_one_person(fact: ImageFacts, t1c: str | None) -> ImageFacts:
    """The facts, with an error where headers say that the T1C is of another person."""
    from components.cohort.dicom.persons import other_person

    told = other_person(fact.path, t1c) if t1c and fact.path != t1c else ""
    return replace(fact, error=told, remedy="give one patient's series") if told else fact


def measure_volume(fact: ImageFacts, image: sitk.Image, reference: sitk.Image) -> ImageFacts:
    """Complete the facts of a sequence; `reference` is the T1C."""
    array = sitk.GetArrayViewFromImage(image)
    axis = geometry.slice_axis(image)
    stack = geometry.slices_first(array, axis)
    return replace(
        _measure(fact, image),
        spread=float(np.ptp(array)),
        missing_slices=geometry.missing_slices(stack),
        overlap=geometry.overlap(image, reference),
        levels=len(np.unique(array[:: max(1, array.shape[0] // 16)])),
        background=geometry.background(stack),
        glare=geometry.glare(stack),
        tilt=geometry.tilt(image),
        cut_head=geometry.cut_head(stack),
        empty_corners=geometry.empty_corners(stack),
    )


def measure_mask(fact: ImageFacts, mask: sitk.Image, sequences: list[sitk.Image]) -> ImageFacts:
    """Complete the facts of a mask of 0 and 1; the first of `sequences`, if any, is the T1C."""
    drawn = sitk.GetArrayViewFromImage(mask) > 0
    found = replace(
        _measure(fact, mask),
        drawn_slices=int(
            geometry.slices_first(drawn, geometry.slice_axis(mask)).any(axis=(1, 2)).sum()
        ),
    )
    if not sequences:
        return found
    return replace(
        found,
        overlap=geometry.drawn_inside(mask, sequences[0]),
        off_mm=off_grid_mm(
            Grid.of(mask),
            [Grid.of(image) for image in (sequences[:1] if fact.role == BRAIN_MASK else sequences)],
        ),
        in_head=geometry.drawn_in_head(mask, sequences[0]),
    )


def _measure(fact: ImageFacts, image: sitk.Image) -> ImageFacts:
    array = sitk.GetArrayViewFromImage(image)
    spacing = np.array(image.GetSpacing())
    extent = spacing * np.array(image.GetSize())
    content = hashlib.sha256(np.ravel(array).data)
    placed = np.round([*spacing, *image.GetOrigin(), *image.GetDirection()], 3)
    positive = array > 0
    return replace(
        fact,
        digest=hashlib.sha256(content.digest() + placed.tobytes()).hexdigest(),
        content=content.hexdigest(),
        slices=int(image.GetSize()[geometry.slice_axis(image)]),
        spacing_min=float(spacing.min()),
        spacing_max=float(spacing.max()),
        field_min=float(extent.min()),
        field_max=float(extent.max()),
        anisotropy=float(spacing.max() / spacing.min()),
        foreground=float(positive.mean()),
        volume_ml=float(positive.sum() * spacing.prod() / 1000.0),
    )


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
