"""The end of one request of image files: the answer as JSON, and the mask where the T1C lies."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.cohort.images import write_image
from components.core.imaging.grid import Grid
from components.preprocess.patient import mask_to_native
from components.release.inference.request import Answer
from components.release.manifest import Contents
from components.release.prediction import Prediction
from components.release.settings import RequestLimits
from serving.images.case import CaseHeader, case_from_tensors
from serving.images.unpack import decoded, unpack
from serving.images.worker import PATIENT_ID
from serving.pacs.files import SEGMENTATION_FILE
from serving.report.files import (
    MASK_FILE,
    PAGE_FILE,
    with_segmentation,
)
from serving.report.page import write_page
from serving.report.result import describe_unprepared, patient_result


@dataclass(frozen=True)
class Finished:
    """What a client gets.

    Attributes:
        result: prediction.json's content, UTF-8.
        mask_nifti: gzip NIfTI on the T1C's own grid; empty of a canary.
        mask_dicom: DICOM SEG; empty unless the T1C is DICOM and a tumour was found.
        page: the page for people, HTML; empty unless it was asked for.
    """

    result: bytes
    mask_nifti: bytes = b""
    mask_dicom: bytes = b""
    page: bytes = b""


def finish(
    tensors: Mapping[str, np.ndarray],
    t1c: bytes,
    contents: Contents,
    release: str,
    limits: RequestLimits,
    *,
    page: bool = False,
) -> Finished:
    """Put an answer together.

    Args:
        tensors: outputs of the first model and of the ensemble for prepared patients.
        t1c: the file as it was sent, or its base64.
        release: id.
        page: whether to draw the page.
    """
    header = CaseHeader.read(tensors)
    if header.abstains:
        prediction = describe_unprepared(
            PATIENT_ID, header.abstains, release, contents, header.files
        )
        return Finished(_json(prediction), _empty_mask(header))
    case, answer = case_from_tensors(tensors, header, contents), Answer.from_tensors(tensors)
    result = patient_result(answer, case, contents, header.files)
    mask = mask_to_native(answer.mask, case)
    with tempfile.TemporaryDirectory(prefix="glioflow-finish-") as scratch:
        folder = Path(scratch)
        if header.dicom:
            series = unpack(decoded(t1c), "t1c", folder, limits)
            result = with_segmentation(folder, result, series, mask)
        if page:
            write_page(folder / PAGE_FILE, result)
        write_image(folder / MASK_FILE, mask)
        return Finished(
            _json(result.prediction),
            (folder / MASK_FILE).read_bytes(),
            _read(folder / SEGMENTATION_FILE),
            _read(folder / PAGE_FILE),
        )


def _json(prediction: Prediction) -> bytes:
    return json.dumps(prediction.content(), allow_nan=False, sort_keys=True).encode()


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _empty_mask(header: CaseHeader) -> bytes:
    if header.native is None:
        return b""
    grid = Grid.from_json(header.native)
    with tempfile.TemporaryDirectory(prefix="glioflow-finish-") as scratch:
        path = Path(scratch) / MASK_FILE
        write_image(path, grid.image(np.zeros(grid.shape, np.uint8)))
        return path.read_bytes()
