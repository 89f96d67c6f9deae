"""A mask as a DICOM segmentation that refers to the series it was found in."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.uid import generate_uid

from components.cohort.dicom.character_set import in_utf8
from components.cohort.dicom.headers import read_instances
from components.cohort.dicom.slice_order import order_stack, stack_grid
from components.core.errors import BadInput
from components.core.files import atomic
from components.core.imaging.grid import Grid, resample

SERIES_NUMBER = 900
"""Scanners number from 1 on; a viewer shows ours after theirs."""

MAKER = "glioflow"

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
"""What a segmentation takes over from its source, and DICOM lets be empty (type 2)."""


@dataclass(frozen=True)
class _Source:
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


def write_segmentation(
    path: Path, series: Path, mask: sitk.Image, *, release: str, description: str
) -> str:
    """Write `mask` as a binary segmentation of one neoplasm of the brain.

    It refers to the series' images and lies in their frame of reference, a frame a slice that holds
    tumour, and carries the identity of the patient that they carry.

    Args:
        series: folder of one series, or an enhanced object.
        mask: uint8, not empty, on the voxels of the series in any order of the axes.
        release: id of what made the mask; becomes the version of the algorithm.
        description: SeriesDescription, up to 64 characters.

    Returns:
        What was mended in the series' headers, in words; empty where nothing was.

    Raises:
        BadInput: the series lacks what a segmentation must refer to.
    """
    source = _read_source(series)
    values = resample(sitk.GetArrayFromImage(mask), Grid.of(mask), source.grid, nearest=True)
    try:
        # highdicom's warnings quote the patient's name.
        with warnings.catch_warnings(action="ignore"):
            made = _segmentation(source, values[source.frames] > 0, release, description)
    except Exception as error:  # highdicom stumbles over what a header lacks in many ways
        # Its words may quote the header.
        kind = type(error).__name__
        raise BadInput(
            series, f"a header that no segmentation can refer to ({kind})", "use the NIfTI mask"
        ) from None
    with atomic(path) as temporary:
        made.save_as(temporary, enforce_file_format=True)
    if source.blanked:
        return f"{source.blanked} header values that are not of their character set are blank"
    return ""


def _read_source(series: Path) -> _Source:
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
    return _Source(headers, [place[image.uid] for image in images], stack_grid(ordered), blanked)


def _segmentation(source: _Source, frames: np.ndarray, release: str, description: str) -> Dataset:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom.sr.codedict import codes

    # It tells UIDs, which lead to a patient.
    logging.getLogger("highdicom").setLevel(logging.WARNING)
    segment = SegmentDescription(
        segment_number=1,
        segment_label="Tumour",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=MAKER, version=release, family=codes.DCM.ArtificialIntelligence
        ),
        tracking_uid=generate_uid(),
        tracking_id="tumour",
        anatomic_regions=[codes.SCT.Brain],
    )
    return Segmentation(
        source_images=source.headers,
        pixel_array=frames,
        segmentation_type="BINARY",
        segment_descriptions=[segment],
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=release,
        device_serial_number=release,
        content_label="TUMOUR",
        content_description=description,
        series_description=description,
    )
