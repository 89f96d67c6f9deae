"""A patient's images as read: one orientation, checked against each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from components.cohort.images import read_image
from components.cohort.manifest import Patient
from components.core.errors import BadInput
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
    """

    sequences: dict[Sequence, sitk.Image]
    native: Grid
    tumor: sitk.Image | None
    brain: sitk.Image | None


def read_patient(patient: Patient, sequences: Iterable[Sequence]) -> PatientImages:
    """Read what a plan needs of a patient.

    Raises:
        BadInput: a sequence is missing, unreadable, constant, or given twice.
    """
    read: dict[Sequence, sitk.Image] = {}
    native: Grid | None = None
    for sequence in sequences:
        path = patient.path_of(sequence)
        if not path:
            raise BadInput(
                f"patient {patient.patient_id}",
                f"no {sequence.value}, which this profile requires",
                f"give the {sequence.value}, or use a profile without it",
            )
        image = read_image(path)
        values = sitk.GetArrayViewFromImage(image)
        if values.min() == values.max():
            raise BadInput(path, "every voxel has the same value", "export the image again")
        if sequence is Sequence.T1C:
            native = Grid.of(image)
        read[sequence] = _above_zero(sitk.DICOMOrient(image, "LPS"))
    assert native is not None  # a plan always holds T1C
    _refuse_twins(patient, read)
    tumor = read_mask(patient.tumor_mask) if patient.tumor_mask else None
    given = patient.extra.get(BRAIN_MASK)
    return PatientImages(read, native, tumor, read_mask(given) if given else None)


def _above_zero(image: sitk.Image) -> sitk.Image:
    """An image whose air lies at 0 or above: some exports shift it far below.

    A bias field is a factor, and only means something over a true zero. The hundredth part that
    is darkest is passed over, so that stray voxels move nothing.
    """
    floor = float(np.percentile(sitk.GetArrayViewFromImage(image), 1))
    return image - floor if floor < 0.0 else image


def read_mask(path: str) -> sitk.Image:
    """A mask as float32 0 and 1, LPS axial."""
    return sitk.Cast(sitk.DICOMOrient(read_image(path), "LPS") > 0.5, sitk.sitkFloat32)


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
    """Name -> sha256 of every file that goes into a case. Raises BadInput when one is missing."""
    paths = {sequence.value: patient.path_of(sequence) for sequence in sequences}
    paths |= {"tumor_mask": patient.tumor_mask, BRAIN_MASK: patient.extra.get(BRAIN_MASK)}
    found: dict[str, str] = {}
    for name, path in paths.items():
        if not path:
            continue
        place = local_copy(path)
        if not place.exists():
            raise BadInput(place, "no such image", f"correct the {name} of {patient.patient_id}")
        found[name] = (
            ",".join(sha256_tree(place).values()) if place.is_dir() else sha256_file(place)
        )
    return found
