"""One gate: what validation refuses, preparing and predicting refuse too, by the same checks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from components.cohort.image_checks.checks import ImageLimits, first_failure, image_checks
from components.cohort.image_checks.facts import patient_facts
from components.cohort.images import read_image, read_voxels, write_image
from components.cohort.manifest import Patient, parse_patient, read_table
from components.core.errors import BadInput
from components.core.imaging.grid import Grid
from components.core.vocabulary import Sequence
from components.features.single_mask import features_of_mask
from components.preprocess.cohort import prepare_cohort
from components.preprocess.patient import prepare_patient
from components.preprocess.plan import PreprocessingPlan, make_plan
from components.preprocess.sequences import read_patient
from components.preprocess.settings import PreprocessSettings
from components.validate.expectations.suites import failures_by_patient
from components.validate.validate import validate_manifest
from tests.validate.factories import (
    BRAINS,
    COPIES,
    FILES,
    HEADERS,
    IMAGES,
    SETTINGS,
    Cohort,
    spoil_patient,
)

SEQUENCES = (Sequence.T1C, Sequence.FLAIR)
BAD = (
    *IMAGES,
    *COPIES,
    *BRAINS,
    *FILES,
    *HEADERS,
    "mask-is-image",
    "flair-is-t1c",
    "t1c-missing-file",
)


@pytest.mark.parametrize("case", BAD)
def test_what_validation_refuses_is_prepared_on_no_road(tmp_path: Path, case: str) -> None:
    cohort = Cohort(tmp_path / "cohort", patients=4)
    spoil_patient(cohort, case, 3)
    patient = parse_patient(read_table(cohort.write()), 3)
    with pytest.raises(BadInput) as refused:
        read_patient(patient, SEQUENCES)
    assert refused.value.remedy
    plan = make_plan(PreprocessSettings(sequences=SEQUENCES, grid=32, working_mm=4.0))
    with pytest.raises(BadInput) as again:
        prepare_patient(patient, plan, subset="prediction", fold=None, cache=None)
    assert again.value.problem == refused.value.problem


def test_plain_checks_and_great_expectations_agree(tmp_path: Path) -> None:
    cohort = Cohort(tmp_path / "cohort", patients=1 + len(IMAGES))
    for row, case in enumerate(IMAGES, start=1):
        spoil_patient(cohort, case, row)
    table = read_table(cohort.write())
    patients = [parse_patient(table, row) for row in range(len(table.rows))]
    facts = [fact for patient in patients for fact in patient_facts(patient, SEQUENCES)]
    checks = image_checks(ImageLimits(), SEQUENCES)
    found = failures_by_patient(pd.DataFrame([vars(fact) for fact in facts]), checks)
    by_expectations = {(f.patient_id, f.column) for f in found if f.fatal}
    by_hand = {(f.patient_id, f.role) for f in facts if first_failure(f, checks)}
    assert by_hand == by_expectations
    assert len(by_hand) >= len(IMAGES)
    assert SETTINGS.mask_ml == ImageLimits().mask_ml


def test_limits_of_a_profile_hold_on_every_road(tmp_path: Path) -> None:
    limits = ImageLimits(field_mm=(200.0, 400.0))
    cohort = Cohort(tmp_path / "cohort", patients=4)
    manifest = cohort.write()
    patient = parse_patient(read_table(manifest), 0)
    assert read_patient(patient, SEQUENCES).notes == ()
    settings = SETTINGS.model_copy(update={"field_mm": limits.field_mm})
    assert validate_manifest(manifest, settings, tmp_path / "out").report["accepted"] == 0
    chosen = PreprocessSettings(sequences=SEQUENCES, grid=32, working_mm=4.0, images=limits)
    plan = make_plan(chosen)
    with pytest.raises(BadInput, match="field of view"):
        prepare_patient(patient, plan, subset="prediction", fold=None, cache=None)
    with pytest.raises(BadInput, match="field of view"):
        features_of_mask(str(patient.tumor_mask), patient.t1c, settings=chosen)
    assert PreprocessingPlan.model_validate_json(plan.model_dump_json()) == plan
    assert "images" not in make_plan(PreprocessSettings(sequences=SEQUENCES)).model_dump()


def test_what_was_mended_is_told_in_the_outputs(tmp_path: Path) -> None:
    cohort = Cohort(tmp_path / "cohort", patients=4)
    image = read_image(tmp_path / "cohort" / "p1_flair.nii.gz")
    array = sitk.GetArrayFromImage(image)
    array[:, [0, -1]] = array[:, :, [0, -1]] = -2000.0
    write_image(tmp_path / "cohort" / "p1_flair.nii.gz", Grid.of(image).image(array))
    manifest = cohort.write()
    said = "flair: voxels of -2000 outside the field of view are read as air"
    report = validate_manifest(manifest, SETTINGS, tmp_path / "out").report
    assert said in report["warnings"]["p1"]
    assert "p0" not in report["warnings"]
    assert read_patient(parse_patient(read_table(manifest), 1), SEQUENCES).notes == (said,)


def test_a_second_row_of_a_patient_replaces_nobody(tmp_path: Path) -> None:
    rows = [Patient(name, "here", str(tmp_path / "none"), None, None) for name in ("p1", "P1")]
    plan = make_plan(PreprocessSettings(sequences=SEQUENCES, grid=32, working_mm=4.0))
    found = {f.patient_id: f.reason for f in prepare_cohort(rows, plan, tmp_path / "out")}
    assert set(found) == {"p1", "P1"}
    assert "'p1'" in found["P1"] and "no such image" in found["p1"]


def head(pad: float, floor: float = 0.0) -> np.ndarray:
    """A ball of tissue in air; `pad` in the corners, outside of a round field of view."""
    _, y, x = np.indices((20, 40, 40)) - np.array([10, 20, 20]).reshape(3, 1, 1, 1)
    radius = np.hypot(x, y)
    rng = np.random.default_rng(0)
    tissue = np.where(
        radius < 14, rng.integers(300, 900, radius.shape), rng.integers(0, 9, x.shape)
    )
    return np.where(radius > 20, pad, tissue + floor).astype(np.float32)


@pytest.mark.parametrize("pad", [-2000.0, -1024.0, -32768.0, -1.0e6, 32767.0])
def test_padding_outside_the_field_of_view_is_air(tmp_path: Path, pad: float) -> None:
    image = sitk.GetImageFromArray(head(pad))
    image.SetSpacing((5.0, 5.0, 6.0))
    write_image(tmp_path / "a.nii.gz", image)
    found = sitk.GetArrayFromImage(read_image(tmp_path / "a.nii.gz"))
    assert np.array_equal(found, head(0.0))
    assert np.array_equal(sitk.GetArrayFromImage(read_voxels(tmp_path / "a.nii.gz")), head(pad))


@pytest.mark.parametrize(
    "array", [head(0.0), head(3.0), head(-50.0, floor=-50.0), head(0.0) / 300 - 1]
)
def test_what_is_no_padding_stays(tmp_path: Path, array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array.astype(np.float32))
    write_image(tmp_path / "a.nii.gz", image)
    assert np.array_equal(sitk.GetArrayFromImage(read_image(tmp_path / "a.nii.gz")), array)
