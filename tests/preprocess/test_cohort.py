"""Many patients: the bad are set apart with a reason, the good go on, nothing is done twice."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from components.cohort.manifest import Patient
from components.cohort.prepared import read_cases
from components.core.errors import Outage
from components.preprocess.cohort import FAILED_FILE, prepare_cohort
from tests.preprocess.factories import changed, phantoms, small_plan

Change = Callable[[sitk.Image], sitk.Image]


def placed(patient: Patient) -> Patient:
    return replace(patient, extra={**patient.extra, "subset": "training"})


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> list[Patient]:
    return [placed(p) for p in phantoms(tmp_path_factory.mktemp("phantoms"), 2, seed=11)]


def _values(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def apply(image: sitk.Image) -> sitk.Image:
        values = change(sitk.GetArrayFromImage(image).astype(np.float32))
        result = sitk.GetImageFromArray(values)
        result.CopyInformation(image)
        return result

    return apply


def _away(image: sitk.Image) -> sitk.Image:
    moved = sitk.Image(image)
    moved.SetOrigin([o + 400.0 for o in image.GetOrigin()])
    # The head fills a corner only, so that no start brings both together.
    values = sitk.GetArrayFromImage(moved)
    values[:, :, : values.shape[2] * 4 // 5] = 0
    values[:, : values.shape[1] * 4 // 5] = 0
    cut = sitk.GetImageFromArray(values)
    cut.CopyInformation(moved)
    return cut


def _nan(values: np.ndarray) -> np.ndarray:
    values[values.shape[0] // 2] = np.nan
    return values


SPOILT: dict[str, tuple[str, Change, str]] = {
    "nan": ("flair", _values(_nan), "NaN"),
    "constant": ("flair", _values(lambda v: np.full_like(v, 7.0)), "same value"),
    "two slices": ("flair", lambda image: image[:, :, 10:12], "too thin"),
    "elsewhere": ("flair", _away, "covers only 0% of the T1C"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_bad_patient_is_set_apart_and_the_good_one_is_prepared(
    patients: list[Patient],
    tmp_path: Path,
    case: str,
    good: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    column, change, reason = SPOILT[case]
    bad = changed(patients[0], tmp_path / "images", **{column: change})
    out = tmp_path / "out"
    failures = prepare_cohort([bad], small_plan(), out, workers=1)
    assert [failure.patient_id for failure in failures] == [bad.patient_id]
    assert reason in failures[0].reason, failures[0].reason
    assert failures[0].remedy
    assert f"patient {bad.patient_id} left out: {failures[0].reason}" in caplog.text
    rows = list(csv.DictReader((out / FAILED_FILE).open()))
    assert [row["patient_id"] for row in rows] == [bad.patient_id]
    assert not (out / bad.patient_id).exists()


def test_one_image_in_two_columns_is_refused(patients: list[Patient], tmp_path: Path) -> None:
    twin = replace(patients[0], flair=patients[0].t1c)
    (failure,) = prepare_cohort([twin], small_plan(), tmp_path, workers=1)
    assert "the same image" in failure.reason


@pytest.fixture(scope="module")
def good(patients: list[Patient], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("good")
    assert not prepare_cohort(patients, small_plan(), out, workers=2)
    return out


def test_workers_change_nothing(patients: list[Patient], good: Path, tmp_path: Path) -> None:
    assert not prepare_cohort(patients, small_plan(), tmp_path, workers=1)
    for patient in patients:
        for file in (good / patient.patient_id).iterdir():
            other = tmp_path / patient.patient_id / file.name
            assert file.read_bytes() == other.read_bytes(), file.name


def test_a_second_run_does_nothing_and_a_changed_row_changes_the_row_alone(
    patients: list[Patient], good: Path
) -> None:
    volumes = sorted(good.glob("*/volumes.npy"))
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in volumes]
    assert len(before) == 2
    assert not prepare_cohort(patients, small_plan(), good, workers=1)
    assert [path.stat().st_mtime_ns for path in volumes] == [stamp for stamp, _ in before]
    older = [replace(patient, age=71.5) for patient in patients]
    assert not prepare_cohort(older, small_plan(), good, workers=1)
    assert {case.age for case in read_cases([good])} == {71.5}
    assert [path.read_bytes() for path in volumes] == [content for _, content in before]


def test_a_volume_that_vanished_stops_the_cohort_and_quarantines_nobody(
    patients: list[Patient], tmp_path: Path
) -> None:
    gone = [
        replace(patients[0], patient_id=f"P{n}", t1c=str(tmp_path / f"unmounted/{n}.nii.gz"))
        for n in range(12)
    ]
    out = tmp_path / "out"
    with pytest.raises(Outage, match="images of 5 of 5 patients cannot be reached"):
        prepare_cohort(gone, small_plan(), out)
    assert not (out / FAILED_FILE).exists()
    # Few of them are the manifest's fault.
    assert len(prepare_cohort(gone[:4], small_plan(), out)) == 4
