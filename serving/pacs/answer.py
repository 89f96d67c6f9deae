"""One answer as the DICOM objects that go back to the study: segmentation, report, captures."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import pydicom
import SimpleITK as sitk
from pydicom import Dataset

from components.cohort.dicom.objects.source_series import SourceSeries, derived_uid, read_source
from components.cohort.images import read_image
from components.core.errors import BadInput
from components.core.files import atomic
from components.release.prediction import Prediction
from serving.pacs.capture import captures
from serving.pacs.files import CAPTURE_FILES, REPORT_FILE, SEGMENTATION_FILE
from serving.pacs.report import measurement_report


def write_dicom_answer(
    folder: Path, series: Path, prediction: Prediction, mask: sitk.Image | None
) -> None:
    """Write report.dcm and slice_N.dcm beside the segmentation that may lie in `folder`.

    Args:
        folder: holds tumor_mask.dcm where a tumour was found.
        series: the T1C: a folder of one series, or an enhanced object.
        prediction: what the objects say.
        mask: uint8 on the T1C's grid; None where nothing could be outlined.

    Raises:
        BadInput: the series lacks what an object must refer to.
    """
    source, t1c = read_source(series), read_image(series)
    found = folder / SEGMENTATION_FILE
    segmentation = pydicom.dcmread(found) if found.is_file() else None
    uid = answer_uid(source, prediction, segmentation)
    # It tells UIDs, which lead to a patient.
    logging.getLogger("highdicom").setLevel(logging.WARNING)
    try:
        # highdicom's warnings quote the patient's name.
        with warnings.catch_warnings(action="ignore"):
            made = {REPORT_FILE: measurement_report(source, prediction, segmentation, uid)}
            pictures = captures(source, prediction, t1c, mask, uid)
    except Exception as error:  # highdicom stumbles over what a header lacks in many ways
        # Its words may quote the header.
        kind = type(error).__name__
        raise BadInput(
            series, f"a header that no report can refer to ({kind})", "use prediction.json"
        ) from None
    objects: dict[str, Dataset] = {**made, **dict(zip(CAPTURE_FILES, pictures, strict=False))}
    for name, item in objects.items():
        with atomic(folder / name) as temporary:
            item.save_as(temporary, enforce_file_format=True)


def answer_uid(source: SourceSeries, prediction: Prediction, segmentation: Dataset | None) -> str:
    """A UID that two answers share where they say the same of the same images.

    What was asked twice is then stored once, whoever lost count.
    """
    said = prediction.model_dump_json(exclude={"patient_id", "inputs", "warnings", "saliency"})
    marked = str(segmentation.SOPInstanceUID) if segmentation is not None else ""
    return derived_uid("answer", source.uids, said, marked)
