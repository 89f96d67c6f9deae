"""A patient's images as read: one orientation, checked against each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from components.cohort.image_checks.checks import ImageLimits, first_failure, image_checks
from components.cohort.image_checks.facts import (
    MASK,
    ImageFacts,
    measure_mask,
    measure_volume,
    of_one_person,
)
from components.cohort.images import read_noted
from components.cohort.manifest import Patient
from components.cohort.masks import off_grid_mm
from components.cohort.masks import read_mask as read_drawn
from components.core.errors import BadInput, Unreachable
from components.core.files import sha256_file, sha256_tree
from components.core.imaging.grid import Grid
from components.core.s3 import local_copy
from components.core.vocabulary import Sequence

BRAIN_MASK = "brain_mask"
"""Extra manifest column: path of a brain mask in the T1C's space."""

_SAME_CORRELATION = 0.9995


@dataclass(frozen=True)
class PatientImages:
    """Images of one patient, LPS axial (axes permuted and flipped, tilt kept), float32.

    Attributes:
        sequences: by name, in the plan's order.
        native: the T1C's grid as the file has it.
        tumor: the manual mask, LPS axial; None where there is none.
        brain: a given brain mask; None where there is none.
        notes: what was mended while reading, in words.
    """

    sequences: dict[Sequence, sitk.Image]
    native: Grid
    tumor: sitk.Image | None
    brain: sitk.Image | None
    notes: tuple[str, ...]


def read_patient(
    patient: Patient, sequences: Iterable[Sequence], limits: ImageLimits | None = None
) -> PatientImages:
    """Read what a plan needs of a patient, and hold it to what validation holds it to.

    Raises:
        BadInput: a sequence is missing, unreadable, implausible or given twice; or a mask is.
    """
    raw: dict[Sequence, sitk.Image] = {}
    notes: list[str] = []
    for sequence in sequences:
        path = patient.path_of(sequence)
        if not path:
            raise BadInput(
                f"patient {patient.patient_id}",
                f"no {sequence.value}, which this profile requires",
                f"give the {sequence.value}, or use a profile without it",
            )
        raw[sequence], mended = read_noted(path)
        notes += [f"{sequence.value}: {note}" for note in mended]
    tumor = read_drawn(patient.tumor_mask) if patient.tumor_mask else None
    _refuse_implausible(patient, raw, tumor, limits or ImageLimits())
    read = {name: _above_zero(sitk.DICOMOrient(image, "LPS")) for name, image in raw.items()}
    _refuse_twins(patient, read)
    given = patient.extra.get(BRAIN_MASK)
    return PatientImages(
        read,
        Grid.of(raw[Sequence.T1C]),
        _oriented(tumor) if tumor else None,
        _oriented(_read_brain(given, raw)) if given else None,
        tuple(notes),
    )


def _refuse_implausible(
    patient: Patient,
    images: dict[Sequence, sitk.Image],
    tumor: sitk.Image | None,
    limits: ImageLimits,
) -> None:
    checks = image_checks(limits, tuple(images))
    reference = images[Sequence.T1C]
    facts = [
        of_one_person(
            measure_volume(
                ImageFacts(patient.patient_id, name.value, str(patient.path_of(name))),
                image,
                reference,
            ),
            patient.t1c,
        )
        for name, image in images.items()
    ]
    if tumor is not None:
        fact = ImageFacts(patient.patient_id, MASK, str(patient.tumor_mask))
        others = [image for name, image in images.items() if name is not Sequence.T1C]
        facts.append(measure_mask(fact, tumor, [reference, *others]))
    for fact in facts:
        failure = first_failure(fact, checks)
        if failure is not None:
            raise failure


def _read_brain(path: str, images: dict[Sequence, sitk.Image]) -> sitk.Image:
    brain = read_drawn(path)
    off = off_grid_mm(Grid.of(brain), [Grid.of(images[Sequence.T1C])])
    if off:
        raise BadInput(
            path,
            f"a brain mask of the T1C's size, but {off:.0f} mm away from it",
            "check its affine: it must lie where the T1C lies",
        )
    return brain


def _oriented(mask: sitk.Image) -> sitk.Image:
    return sitk.Cast(sitk.DICOMOrient(mask, "LPS"), sitk.sitkFloat32)


def _above_zero(image: sitk.Image) -> sitk.Image:
    """An image whose air lies at 0 or above: some exports shift it far below.

    A bias field is a factor, and only means something over a true zero. The hundredth part that
    is darkest is passed over, so that stray voxels move nothing.
    """
    floor = float(np.percentile(sitk.GetArrayViewFromImage(image), 1))
    return image - floor if floor < 0.0 else image


def _refuse_twins(patient: Patient, images: dict[Sequence, sitk.Image]) -> None:
    """One image in two columns would teach a network a sequence that is not there."""
    names = list(images)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            a, b = (sitk.GetArrayViewFromImage(images[name]) for name in (first, second))
            if a.shape == b.shape and _correlation(a, b) > _SAME_CORRELATION:
                raise BadInput(
                    f"patient {patient.patient_id}",
                    f"{first.value} and {second.value} are the same image",
                    f"give the true {second.value}",
                )


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a[::2, ::3, ::3].ravel(), b[::2, ::3, ::3].ravel())[0, 1])


def input_digests(patient: Patient, sequences: Iterable[Sequence]) -> dict[str, str]:
    """Name -> sha256 of every file that goes into a case. Raises Unreachable: one is missing."""
    paths = {sequence.value: patient.path_of(sequence) for sequence in sequences}
    paths |= {"tumor_mask": patient.tumor_mask, BRAIN_MASK: patient.extra.get(BRAIN_MASK)}
    found: dict[str, str] = {}
    for name, path in paths.items():
        if not path:
            continue
        place = local_copy(path)
        remedy = f"correct the {name} of {patient.patient_id}"
        try:
            if not place.exists():
                raise Unreachable(place, "no such image", remedy)
            found[name] = (
                ",".join(sha256_tree(place).values()) if place.is_dir() else sha256_file(place)
            )
        except PermissionError as error:
            raise Unreachable(place, f"cannot be opened ({error.strerror})", remedy) from None
    return found


def refuse_changed(
    patient: Patient, sequences: Iterable[Sequence], digests: dict[str, str]
) -> None:
    """After reading: the files are still those that `input_digests` hashed before.

    Raises:
        BadInput: one was replaced in the meantime, so that its digest certifies nothing.
    """
    for name, digest in input_digests(patient, sequences).items():
        if digests.get(name) != digest:
            raise BadInput(
                f"patient {patient.patient_id}, {name}",
                "the file changed while it was read",
                "run again when nothing writes to it",
            )
