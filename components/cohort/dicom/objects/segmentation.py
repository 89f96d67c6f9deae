"""A mask as a DICOM segmentation that refers to the series it was found in."""

from __future__ import annotations

import logging
import warnings
from hashlib import sha256
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset

from components.cohort.dicom.objects.source_series import (
    MAKER,
    SourceSeries,
    derived_uid,
    read_source,
)
from components.core.errors import BadInput
from components.core.files import atomic
from components.core.imaging.grid import Grid, resample

SERIES_NUMBER = 900
"""Scanners number from 1 on; a viewer shows ours after theirs."""


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
    source = read_source(series)
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


def _segmentation(
    source: SourceSeries, frames: np.ndarray, release: str, description: str
) -> Dataset:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom.sr.codedict import codes

    # It tells UIDs, which lead to a patient.
    logging.getLogger("highdicom").setLevel(logging.WARNING)
    stack = frames[np.argsort(source.frames)]
    of = (release, source.uids, sha256(np.packbits(stack).tobytes()).hexdigest())
    segment = SegmentDescription(
        segment_number=1,
        segment_label="Tumour",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=MAKER, version=release, family=codes.DCM.ArtificialIntelligence
        ),
        tracking_uid=derived_uid("tumour", *of),
        tracking_id="tumour",
        anatomic_regions=[codes.SCT.Brain],
    )
    return Segmentation(
        source_images=source.headers,
        pixel_array=frames,
        segmentation_type="BINARY",
        segment_descriptions=[segment],
        series_instance_uid=derived_uid("segmentation series", *of),
        series_number=SERIES_NUMBER,
        sop_instance_uid=derived_uid("segmentation", *of),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=release,
        device_serial_number=release,
        content_label="TUMOUR",
        content_description=description,
        series_description=description,
    )
