"""Facts about one patient's images: numbers that expectations judge, measured without judging."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from components.cohort.errors import BadInput, Outage
from components.cohort.images import read_image
from components.cohort.manifest import Patient
from components.cohort.vocabulary import Sequence


@dataclass(frozen=True)
class ImageFacts:
    """What is known of one image of one patient; numbers are None where it could not be read.

    Attributes:
        role: "t1c", "t2", "flair" or "tumor_mask".
        error: why it could not be read ("" where it could).
        digest: sha256 of voxel values and geometry: equal for a copied image under another name.
        content: sha256 of the voxel values alone: equal for a copied channel.
        missing_slices: share of axial slices without any signal between the first and last with.
        overlap: share of the T1C's field of view inside this image's.
        foreground: share of voxels above zero; volume_ml: their volume.
        levels: number of different values on a sample of slices: few in a mask.
    """

    patient_id: str
    role: str
    path: str
    error: str = ""
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
    overlap: float | None = None
    foreground: float | None = None
    volume_ml: float | None = None
    levels: int | None = None


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
        return None, ImageFacts(patient_id, role, "", error="not in the manifest")
    try:
        return read_image(path), ImageFacts(patient_id, role, path)
    except Outage:
        raise
    except BadInput as error:
        return None, ImageFacts(patient_id, role, path, error=error.problem)


def _measure(fact: ImageFacts, image: sitk.Image, reference: sitk.Image) -> ImageFacts:
    array = sitk.GetArrayViewFromImage(image)
    spacing = np.array(image.GetSpacing())
    extent = spacing * np.array(image.GetSize())
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes())
    geometry = np.round([*spacing, *image.GetOrigin(), *image.GetDirection()], 3)
    positive = array > 0
    axis = _slice_axis(image)
    return ImageFacts(
        **{**asdict(fact)}
        | {
            "digest": hashlib.sha256(content.digest() + geometry.tobytes()).hexdigest(),
            "content": content.hexdigest(),
            "slices": int(image.GetSize()[axis]),
            "spacing_min": float(spacing.min()),
            "spacing_max": float(spacing.max()),
            "field_min": float(extent.min()),
            "field_max": float(extent.max()),
            "anisotropy": float(spacing.max() / spacing.min()),
            "spread": float(array.std()),
            "missing_slices": _missing_slices(array, axis),
            "overlap": _overlap(image, reference),
            "foreground": float(positive.mean()),
            "volume_ml": float(positive.sum() * spacing.prod() / 1000.0),
            "levels": len(np.unique(array[:: max(1, array.shape[0] // 16)])),
        }
    )


def _slice_axis(image: sitk.Image) -> int:
    """Axis (0 x, 1 y, 2 z) along which slices were acquired: the coarsest, then the shortest."""
    spacing, size = image.GetSpacing(), image.GetSize()
    return max(range(3), key=lambda axis: (round(spacing[axis], 3), -size[axis]))


def _missing_slices(array: np.ndarray, slice_axis: int) -> float:
    """Share of slices along the acquisition axis (x, y, z index) that hold a single value."""
    stack = np.moveaxis(array, 2 - slice_axis, 0).reshape(array.shape[2 - slice_axis], -1)
    empty = np.ptp(stack, axis=1) == 0
    return float(empty.mean())


def _overlap(image: sitk.Image, reference: sitk.Image) -> float:
    """Share of a raster of the reference's points that lie inside the image."""
    size = np.array(reference.GetSize())
    axes = [np.linspace(0, n - 1, 9) for n in size]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    direction = np.reshape(reference.GetDirection(), (3, 3))
    position = (points * reference.GetSpacing()) @ direction.T + reference.GetOrigin()
    inverse = np.linalg.inv(np.reshape(image.GetDirection(), (3, 3)))
    index = ((position - np.array(image.GetOrigin())) @ inverse.T) / image.GetSpacing()
    inside = ((index > -0.5) & (index < np.array(image.GetSize()) - 0.5)).all(axis=1)
    return float(inside.mean())


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
