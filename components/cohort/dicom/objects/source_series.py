"""A DICOM series as new objects refer to it: headers, places in the stack, derived UIDs."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom import Dataset

from components.cohort.dicom.character_set import in_utf8
from components.cohort.dicom.headers import read_instances
from components.cohort.dicom.slice_order import order_stack, stack_grid
from components.core.errors import BadInput
from components.core.imaging.grid import Grid

MAKER = "glioflow"
"""Manufacturer of every object that is made here."""

_NAMESPACE = uuid.UUID("7d2ab1f0-0a53-5b6e-9b1c-3c7f1a8f5a11")

_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""What an object takes over from its source, and DICOM lets be empty (type 2)."""


@dataclass(frozen=True)
class SourceSeries:
    """A series to refer to.

    Attributes:
        headers: of its files, without pixels.
        frames: for each frame of `headers`, in their order, its place in the stack.
        grid: of the stack: columns, rows, slices, as the scanner's images lie.
        blanked: values of the headers that are not of their character set.
    """

    headers: list[Dataset]
    frames: list[int]
    grid: Grid
    blanked: int

    @property
    def uids(self) -> list[str]:
        """SOP instance UIDs, sorted."""
        return sorted(str(header.SOPInstanceUID) for header in self.headers)


def read_source(series: Path) -> SourceSeries:
    """Read a folder of one series, or an enhanced object.

    Raises:
        BadInput: the images are no stack, or lack what an object must refer to.
    """
    paths = [series] if series.is_file() else sorted(p for p in series.iterdir() if p.is_file())
    images, _ = read_instances(paths)
    ordered, _ = order_stack(series, images)
    kept = set(ordered)
    images = [image for image in images if image in kept]
    files = list(dict.fromkeys(image.path for image in images))
    if len(files) > 1 and len(files) < len(images):
        raise BadInput(series, "several multi-frame objects", "use the NIfTI mask")
    headers: list[Dataset] = [
        pydicom.dcmread(file, stop_before_pixels=True, force=True) for file in files
    ]
    blanked = sum(in_utf8(header) for header in headers)
    if not all(header.get("FrameOfReferenceUID") for header in headers):
        raise BadInput(series, "images without a frame of reference", "use the NIfTI mask")
    for header in headers:
        for name in _MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, "")
    place = {image.uid: index for index, image in enumerate(ordered)}
    return SourceSeries(
        headers, [place[image.uid] for image in images], stack_grid(ordered), blanked
    )


def derived_uid(*parts: str | Iterable[str]) -> str:
    """A UID that is the same wherever it is derived from the same parts (PS3.5 B.2: 2.25.UUID).

    An object that is made and stored twice is then one object to whoever receives it.
    """
    texts = ["\n".join([part] if isinstance(part, str) else part) for part in parts]
    digest = hashlib.sha256("\n\n".join(texts).encode()).hexdigest()
    return f"2.25.{uuid.uuid5(_NAMESPACE, digest).int}"
