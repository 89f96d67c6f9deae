"""What no head gives is not carried on: quarantined in training, abstained on in serving."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from components.cohort.manifest import Patient
from components.cohort.prepared import read_case
from components.core.errors import BadInput, Implausible
from components.core.imaging.grid import Grid
from components.preprocess.cohort import FAILED_FILE, prepare_cohort
from components.preprocess.patient import prepare_patient
from components.preprocess.quality.plausibility import brain_numbers, broken
from tests.preprocess.factories import changed, phantoms, small_plan

Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Patient:
    return phantoms(tmp_path_factory.mktemp("phantom"), 1)[0]


def on_voxels(change: Change) -> Callable[[sitk.Image], sitk.Image]:
    """A change of the values alone: the header keeps saying what it said."""

    def apply(image: sitk.Image) -> sitk.Image:
        values = change(sitk.GetArrayFromImage(image).astype(np.float32))
        return Grid.of(image).image(np.ascontiguousarray(values, dtype=np.float32))

    return apply


def refused_check(patient: Patient) -> str:
    """Name of the check that refuses a patient; "input" where its images cannot be used at all."""
    with pytest.raises(BadInput) as refused:
        prepare_patient(patient, small_plan(), subset="training", fold=None, cache=None)
    return refused.value.check if isinstance(refused.value, Implausible) else "input"


def noise(values: np.ndarray) -> np.ndarray:
    return np.random.default_rng(1).normal(100.0, 20.0, values.shape)


def ramp(values: np.ndarray) -> np.ndarray:
    return np.indices(values.shape)[2] * 10.0


def bottle(values: np.ndarray) -> np.ndarray:
    apart = [(i - n / 2) / n for i, n in zip(np.indices(values.shape), values.shape, strict=True)]
    inside = apart[1] ** 2 + apart[2] ** 2 < 0.15
    return np.where(inside, 800.0, 0.0) + np.random.default_rng(1).normal(5.0, 2.0, values.shape)


def upside_down(values: np.ndarray) -> np.ndarray:
    return values[::-1]


def back_to_front(values: np.ndarray) -> np.ndarray:
    return values[:, ::-1]


@pytest.mark.parametrize(
    ("change", "checks"),
    [
        (noise, {"no_brain", "brain_volume", "brain_pieces"}),
        (ramp, {"input"}),
        (bottle, {"no_brain", "brain_volume", "field_of_view", "mni_similarity"}),
        (upside_down, {"orientation"}),
        (back_to_front, {"orientation"}),
    ],
)
def test_images_that_are_no_head_as_the_header_says_are_refused(
    patient: Patient, change: Change, checks: set[str], tmp_path: Path
) -> None:
    changes = {"t1c": on_voxels(change), "flair": on_voxels(change)}
    odd = changed(patient, tmp_path, **changes)
    assert refused_check(odd) in checks


CUTS = {
    "lower": (2, 0.0, 0.5),
    "upper": (2, 0.55, 1.0),
    "right": (0, 0.0, 0.5),
    "left": (0, 0.5, 1.0),
    "front": (1, 0.0, 0.5),
    "back": (1, 0.5, 1.0),
}
"""Axis (x, y, z) and the share of the field of view that is left."""


@pytest.mark.parametrize(
    "part",
    ["lower", *(pytest.param(name, marks=pytest.mark.slow) for name in list(CUTS)[1:])],
)
def test_half_a_head_is_refused(patient: Patient, part: str, tmp_path: Path) -> None:
    axis, low, high = CUTS[part]

    def cut(image: sitk.Image) -> sitk.Image:
        count = image.GetSize()[axis]
        window: list[slice] = [slice(None)] * 3
        window[axis] = slice(int(low * count), int(high * count))
        return image[tuple(window)]

    half = replace(changed(patient, tmp_path, t1c=cut), tumor_mask=None)
    assert refused_check(half) in {"brain_volume", "field_of_view"}


def test_a_head_of_a_small_child_is_refused(patient: Patient, tmp_path: Path) -> None:
    def smaller(image: sitk.Image) -> sitk.Image:
        image.SetSpacing([0.8 * mm for mm in image.GetSpacing()])
        return image

    child = changed(patient, tmp_path, t1c=smaller, flair=smaller, tumor_mask=smaller)
    assert refused_check(child) == "brain_volume"


@pytest.mark.real_data
@pytest.mark.parametrize("given", ["t2", "flair"])
def test_another_sequence_given_as_t1c_is_refused(given: str, data_dir: Path) -> None:
    folder = data_dir / "tcga-fg-6692"
    swapped = Patient(
        patient_id="swapped",
        site="",
        t1c=str(folder / f"{given}.nii.gz"),
        t2=None,
        flair=str(folder / ("t1c.nii.gz" if given == "flair" else "flair.nii.gz")),
        age=64.0,
    )
    assert refused_check(swapped) == "t1_contrast"


def test_training_leaves_the_patient_out_unless_told_otherwise(
    patient: Patient, tmp_path: Path
) -> None:
    plan = small_plan(brain={"plausible_ml": (100.0, 200.0)})
    out = tmp_path / "prepared"
    failures = prepare_cohort([patient], plan, out)
    assert [failure.patient_id for failure in failures] == [patient.patient_id]
    with (out / FAILED_FILE).open(newline="") as stream:
        assert [row["patient_id"] for row in csv.DictReader(stream)] == [patient.patient_id]
    assert not (out / patient.patient_id).exists()
    assert prepare_cohort([patient], plan, out, accept_implausible=True) == []
    kept = read_case(out / patient.patient_id)
    assert [check for check, _ in broken(kept.quality, plan)] == ["brain_volume"]
    assert any(text.startswith("accepted though") for text in kept.warnings)
    assert len(prepare_cohort([patient], plan, out)) == 1


def test_a_brain_in_pieces_or_at_the_edge_is_counted() -> None:
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[2:12, 5:15, 5:15] = 1
    image = sitk.GetImageFromArray(mask)
    assert brain_numbers(image) == {"brain_largest": 1.0, "brain_cut": 0.0}
    mask[15:19, 5:10, 5:10] = 1
    assert brain_numbers(sitk.GetImageFromArray(mask))["brain_largest"] == pytest.approx(
        1000 / 1100
    )
    cut = image[:, :, 6:]
    assert brain_numbers(cut)["brain_cut"] == 1.0


def test_the_reason_survives_a_process_pool() -> None:
    error = Implausible("t1c", "too large", "look at it", "brain_volume").within("patient P1")
    again = pickle.loads(pickle.dumps(error))
    assert (again.subject, again.check) == ("patient P1, t1c", "brain_volume")
