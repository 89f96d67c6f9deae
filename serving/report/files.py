"""An answer on disk: as numbers, as masks, and as what people read."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from components.cohort.images import write_image
from components.cohort.prepared import PreparedCase
from components.core.errors import BadInput
from components.core.files import write_json
from components.core.vocabulary import Origin, Status
from components.release.inference.ensemble import digest_request
from components.release.inference.request import Answer, request_tensors
from components.release.manifest import Contents
from components.release.prediction import ON_PHANTOMS, Inputs, Prediction, Preparation, Reason

PREDICTION_FILE = "prediction.json"
MASK_FILE = "tumor_mask.nii.gz"
SEGMENTATION_FILE = "tumor_mask.dcm"
PICTURE_FILE = "prediction.png"
PAGE_FILE = "prediction.html"
EXPLANATION_FILE = "explanation.png"
FILES = (
    MASK_FILE,
    SEGMENTATION_FILE,
    PICTURE_FILE,
    EXPLANATION_FILE,
    PAGE_FILE,
    PREDICTION_FILE,
)
"""In the order in which they appear: who finds the last, finds all."""

SERIES_DESCRIPTION = "glioflow tumour mask: research use only"


def describe(
    answer: Answer, case: PreparedCase, contents: Contents, files: Mapping[str, str]
) -> dict[str, Any]:
    """The content of prediction.json; see Prediction.

    Args:
        files: see components.preprocess.sequences.input_digests.
    """
    request = digest_request(request_tensors(case, contents), contents.interface)
    prediction = Prediction(
        patient_id=case.patient_id,
        status=answer.status,
        probability_idh_mutant=answer.probability,
        slices=answer.slice_probabilities,
        slice_indices=answer.slices,
        features=answer.features,
        tumor_volume_ml=answer.tumor_ml,
        uncertainty=answer.uncertainty,
        ood=answer.ood,
        release=answer.release,
        trained_on=contents.trained_on,
        profile=contents.profile,
        inputs=Inputs(files=file_digests(files), request=request.hex()),
        preprocessing=Preparation(plan=contents.plan_digest, quality=case.quality),
        warnings=(*_origin(contents), *answer.warnings, *case.warnings),
    )
    return prediction.content()


def describe_unprepared(
    patient_id: str, reason: Reason, release: str, contents: Contents, files: Mapping[str, str]
) -> dict[str, Any]:
    """The content of prediction.json for images of which nothing can be said.

    Args:
        reason: why.
        files: see `describe`.
    """
    prediction = Prediction(
        patient_id=patient_id,
        status=Status.ABSTAIN,
        probability_idh_mutant=None,
        slices=None,
        slice_indices=None,
        features=None,
        tumor_volume_ml=None,
        uncertainty=None,
        ood=None,
        release=release,
        trained_on=contents.trained_on,
        profile=contents.profile,
        inputs=Inputs(files=file_digests(files), request=None),
        preprocessing=Preparation(plan=contents.plan_digest, quality=None),
        warnings=(*_origin(contents), reason.sentence),
        reason=reason,
    )
    return prediction.content()


def _origin(contents: Contents) -> tuple[str, ...]:
    return (ON_PHANTOMS,) if contents.trained_on is Origin.PHANTOMS else ()


def file_digests(files: Mapping[str, str]) -> dict[str, str]:
    """A file's sha256; of a series' files (joined by commas) the sha256 of that."""
    return {
        name: hashlib.sha256(found.encode()).hexdigest() if "," in found else found
        for name, found in files.items()
    }


def write_answer(
    out: Path,
    content: dict[str, Any],
    answer: Answer,
    case: PreparedCase,
    contents: Contents,
    *,
    series: Path | None = None,
    explain: Path | None = None,
) -> dict[str, Any]:
    """Write one answer into the folder `out`: prediction.json, tumor_mask.nii.gz, pictures, a page.

    All are made aside and then moved in, prediction.json last.

    Args:
        content: see `describe`.
        series: the T1C, where it is DICOM; adds tumor_mask.dcm where there is a tumour.
        explain: see serving.predict.predict_patient.

    Returns:
        What prediction.json holds: `content` and what was found out while writing.

    Raises:
        BadInput: see serving.report.explanation.explain_answer.
    """
    from components.preprocess.cohort import mask_to_native
    from serving.report.explanation import draw_explained, explain_answer
    from serving.report.figure import draw_prediction
    from serving.report.page import write_page

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".partial-") as aside:
        folder = Path(aside)
        mask = mask_to_native(answer.mask, case)
        write_image(folder / MASK_FILE, mask)
        if series is not None:
            content = with_segmentation(folder, content, series, mask)
        explained = None
        if explain is not None and answer.status is not Status.NO_TUMOR:
            explained = explain_answer(answer, case, contents, explain)
            content = {**content, "saliency": explained.shares()}
            draw_explained(folder / EXPLANATION_FILE, explained, answer, case)
        draw_prediction(folder / PICTURE_FILE, content, answer, case, contents)
        write_page(folder / PAGE_FILE, content, answer, case, contents, explained)
        write_json(folder / PREDICTION_FILE, content)
        _replace(folder, out)
    return content


def with_segmentation(
    folder: Path, content: dict[str, Any], series: Path, mask: sitk.Image
) -> dict[str, Any]:
    """Write the DICOM segmentation; where a header makes that impossible, the answer says so."""
    from components.cohort.dicom.segmentation import write_segmentation

    if not sitk.GetArrayViewFromImage(mask).any():
        return content
    try:
        write_segmentation(
            folder / SEGMENTATION_FILE,
            series,
            mask,
            release=content["release"],
            description=SERIES_DESCRIPTION,
        )
    except BadInput as error:
        said = f"no {SEGMENTATION_FILE}: {error.problem}"
        return {**content, "warnings": [*content["warnings"], said]}
    return content


def _replace(made: Path, out: Path) -> None:
    """Move one answer's files in; what only an earlier answer had, goes."""
    for name in FILES:
        if (made / name).exists():
            (made / name).replace(out / name)
        else:
            (out / name).unlink(missing_ok=True)
