"""An answer on disk: as numbers, as masks, and as what people read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import SimpleITK as sitk

from components.cohort.images import write_image
from components.core.errors import BadInput
from components.core.files import replacing, write_json
from components.core.vocabulary import Status
from components.release.prediction import Prediction
from serving.pacs.files import DICOM_FILES, REPORT_FILE, SEGMENTATION_FILE
from serving.report.result import PatientResult

PREDICTION_FILE = "prediction.json"
MASK_FILE = "tumor_mask.nii.gz"
PICTURE_FILE = "prediction.png"
PAGE_FILE = "prediction.html"
EXPLANATION_FILE = "explanation.png"
FILES = (
    MASK_FILE, *DICOM_FILES, PICTURE_FILE, EXPLANATION_FILE, PAGE_FILE, PREDICTION_FILE,
)  # fmt: skip
"""In the order in which they appear: who finds the last, finds all."""

SERIES_DESCRIPTION = "glioflow tumour mask: research use only"


def write_answer(
    out: Path, result: PatientResult, *, series: Path | None = None, explain: Path | None = None
) -> Prediction:
    """Write one answer into the folder `out`: prediction.json, tumor_mask.nii.gz, pictures, a page.

    All are made aside and then moved in, prediction.json last.

    Args:
        series: the T1C, where it is DICOM; adds the answer as DICOM (serving.pacs.answer).
        explain: see serving.predict.predict_patient.

    Returns:
        What prediction.json holds: the result's, and what was found out while writing.

    Raises:
        BadInput: see serving.report.explanation.explain_answer.
    """
    from components.preprocess.cohort import mask_to_native
    from serving.report.explanation import draw_explained, explain_answer
    from serving.report.figure import draw_prediction
    from serving.report.page import write_page

    with replacing(out, FILES) as folder:
        mask = mask_to_native(result.answer.mask, result.case)
        write_image(folder / MASK_FILE, mask)
        if series is not None:
            result = with_segmentation(folder, result, series, mask)
            result = replace(
                result, prediction=with_report(folder, result.prediction, series, mask)
            )
        if explain is not None and result.answer.status is not Status.NO_TUMOR:
            explained = explain_answer(result, explain)
            result = result.changed(saliency=explained.shares())
            result = replace(result, explained=explained)
            draw_explained(folder / EXPLANATION_FILE, result, explained)
        draw_prediction(folder / PICTURE_FILE, result)
        write_page(folder / PAGE_FILE, result, interactive=True)
        write_json(folder / PREDICTION_FILE, result.prediction.content())
    return result.prediction


def with_segmentation(
    folder: Path, result: PatientResult, series: Path, mask: sitk.Image
) -> PatientResult:
    """Write the DICOM segmentation; where a header makes that impossible, the answer says so."""
    said = write_dicom_mask(folder, result.answer.release, series, mask)
    if said is None:
        return result
    return result.changed(warnings=(*result.prediction.warnings, said))


def with_report(
    folder: Path, prediction: Prediction, series: Path, mask: sitk.Image | None
) -> Prediction:
    """Write DICOM report and captures; where a header makes that impossible, the answer says so.

    Args:
        folder: holds the segmentation, if there is one.
        mask: None where nothing could be outlined.
    """
    from serving.pacs.answer import write_dicom_answer

    try:
        write_dicom_answer(folder, series, prediction, mask)
    except BadInput as error:
        said = f"no {REPORT_FILE}: {error.problem}"
        return prediction.model_copy(update={"warnings": (*prediction.warnings, said)})
    return prediction


def write_dicom_mask(folder: Path, release: str, series: Path, mask: sitk.Image) -> str | None:
    """Write tumor_mask.dcm where there is a tumour; a warning where a header makes it impossible
    or had to be mended.

    Args:
        release: what made the mask.
        series: folder of the DICOM series on whose grid the mask lies.
    """
    from components.cohort.dicom.objects.segmentation import write_segmentation

    if not sitk.GetArrayViewFromImage(mask).any():
        return None
    try:
        mended = write_segmentation(
            folder / SEGMENTATION_FILE,
            series,
            mask,
            release=release,
            description=SERIES_DESCRIPTION,
        )
    except BadInput as error:
        return f"no {SEGMENTATION_FILE}: {error.problem}"
    return f"{SEGMENTATION_FILE}: {mended}" if mended else None
