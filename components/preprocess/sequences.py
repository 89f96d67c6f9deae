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
    masks_of,
    measure_mask,
    measure_volume,
    of_one_person,
    twins_told,
)
from components.cohort.images import read_noted
from components.cohort.manifest import BRAIN_MASK, Patient
from components.cohort.masks import read_mask as read_drawn
from components.core.errors import BadInput, Unreachable
from components.core.files import sha256_file, sha256_tree
from components.core.imaging.grid import Grid
from components.core.s3 import local_copy
from components.core.vocabulary import Sequence


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
    masks = {role: read_drawn(path) for role, path in masks_of(patient).items()}
    _refuse_implausible(patient, raw, masks, limits or ImageLimits())
    read = {name: _above_zero(sitk.DICOMOrient(image, "LPS")) for name, image in raw.items()}
    return PatientImages(
        read,
        Grid.of(raw[Sequence.T1C]),
        _oriented(masks.get(MASK)),
        _oriented(masks.get(BRAIN_MASK)),
        tuple(notes),
    )


def _refuse_implausible(
    patient: Patient,
    images: dict[Sequence, sitk.Image],
    masks: dict[str, sitk.Image],
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
    facts = twins_told(facts, {name.value: image for name, image in images.items()})
    others = [image for name, image in images.items() if name is not Sequence.T1C]
    for role, path in masks_of(patient).items():
        fact = ImageFacts(patient.patient_id, role, path)
        facts.append(measure_mask(fact, masks[role], [reference, *others]))
    for fact in facts:
        failure = first_failure(fact, checks)
        if failure is not None:
            raise failure


def _oriented(mask: sitk.Image | None) -> sitk.Image | None:
    return None if mask is None else sitk.Cast(sitk.DICOMOrient(mask, "LPS"), sitk.sitkFloat32)


def _above_zero(image: sitk.Image) -> sitk.Image:
    """An image whose air lies at 0 or above: some exports shift it far below.

    A bias field is a factor, and only means something over a true zero. The hundredth part that
    is darkest is passed over, so that stray voxels move nothing.
    """
    floor = float(np.percentile(sitk.GetArrayViewFromImage(image), 1))
    return image - floor if floor < 0.0 else image


def input_digests(patient: Patient, sequences: Iterable[Sequence]) -> dict[str, str]:
    """Name -> sha256 of every file that goes into a case. Raises Unreachable: one is missing."""
    paths = {sequence.value: patient.path_of(sequence) for sequence in sequences}
    paths |= masks_of(patient)
    found: dict[str, str] = {}
    for name, path in paths.items():
        if not path:
            continue
        place = local_copy(path)
        remedy = f"correct the {name} of {patient.patient_id}"
        try:
            if not place.exists():
                raise Unreachable(place, "no such image", remedy)
            if not (place.is_file() or place.is_dir()):
                raise BadInput(place, "neither a file nor a folder", remedy)
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
