"""Answers to small phantoms for tests: a series, a lopsided mask, and what is said of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from components.cohort.images import read_image
from components.core.imaging.grid import Grid
from components.core.vocabulary import Origin, Status
from components.release.prediction import ON_PHANTOMS, Inputs, Prediction, Preparation, Reason
from serving.report.files import with_report, write_dicom_mask

RELEASE = "glioma-idh-0123456789ab"
SLICES = (7, 9, 11, 13, 15)


def mask_of(series: Path) -> sitk.Image:
    """A box in the patient's right front, on the series as it is read."""
    image = read_image(series)
    grid = Grid.of(sitk.DICOMOrient(image, "LPS"))
    z, y, x = grid.shape
    values = np.zeros(grid.shape, np.uint8)
    values[z // 4 : 3 * z // 4, y // 6 : y // 3, x // 6 : x // 3] = 1
    placed = grid.image(values)
    return sitk.Resample(
        placed, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8
    )


def said(series: Path, status: Status = Status.OK, **changed: Any) -> Prediction:
    """An answer whose network grid is the series' own, turned to LPS."""
    grid = Grid.of(sitk.DICOMOrient(read_image(series), "LPS"))
    told = {name: list(values) for name, values in grid.to_json().items()}
    ok = status is Status.OK
    features = {"Maximum3DDiameter": 33.125, "MajorAxisLength": 30.5, "Sphericity": 0.7}
    content: dict[str, Any] = {
        "patient_id": "unnamed",
        "status": status,
        "probability_idh_mutant": 0.8312 if status is not Status.NO_TUMOR else None,
        "slice_indices": SLICES if ok else None,
        "features": features if ok else None,
        "tumor_volume_ml": 12.345 if ok else 0.0,
        "uncertainty": 0.0125 if ok else None,
        "release": RELEASE,
        "trained_on": Origin.PHANTOMS,
        "profile": "test",
        "inputs": Inputs(files={"t1c": "0" * 64}, request=None),
        "preprocessing": Preparation(plan="0" * 64, quality={}, grid=told),
        "warnings": (ON_PHANTOMS,),
    }
    return Prediction(**{**content, **changed})


def unprepared(series: Path) -> Prediction:
    """An abstention on images that could not be prepared."""
    reason = Reason(check="brain_ml", sentence="the brain has 12 ml, less than 400")
    return said(
        series,
        Status.ABSTAIN,
        probability_idh_mutant=None,
        tumor_volume_ml=None,
        preprocessing=Preparation(plan="0" * 64, quality=None),
        warnings=(ON_PHANTOMS, reason.sentence),
        reason=reason,
    )


def write(
    folder: Path, series: Path, prediction: Prediction, mask: sitk.Image | None
) -> Prediction:
    """As `glioflow predict` writes an answer's DICOM files."""
    folder.mkdir(parents=True, exist_ok=True)
    if mask is not None:
        assert write_dicom_mask(folder, RELEASE, series, mask) is None
    return with_report(folder, prediction, series, mask)


def errors_of(path: Path) -> list[str]:
    """What dciodvfy (Debian's dicom3tools) finds wrong with an object."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is missing: apt-get install dicom3tools")
    told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True)
    assert told.stderr.strip(), "dciodvfy says nothing, not even the kind of object"
    return [line for line in told.stderr.splitlines() if line.startswith(("Error", "Abort"))]
