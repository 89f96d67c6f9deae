"""Figures of a few patients with known answers: who counts as wrong, and who is left out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from components.evaluate.read_tables import ModelPredictions
from components.evaluate.report.failure_gallery import find_failures
from components.evaluate.settings import EvaluateSettings
from components.evaluate.statistics.performance import (
    correct,
    patient_block,
    slice_block,
    without_nan,
)
from components.evaluate.statistics.segmentation import segmentation_block, summary
from components.evaluate.subgroups.figures import bands, subgroup_block

SETTINGS = EvaluateSettings(iterations=100, min_subgroup=3, min_class=1)
NAN = float("nan")


def _predictions(idh: list[int], probability: list[float], abstained: int = 0) -> ModelPredictions:
    count = len(idh)
    return ModelPredictions(
        patient_id=np.array([f"p{i}" for i in range(count)]),
        idh=np.array(idh),
        probability=np.array(probability),
        uncertainty=None,
        abstained=np.arange(count) < abstained,
        slice_patient=np.zeros(0, int),
        slice_probability=np.zeros(0),
        unknown=0,
    )


SIX = _predictions([1, 1, 1, 0, 0, 0], [0.9, 0.4, NAN, 0.2, 0.7, NAN], abstained=1)


def test_no_answer_is_no_correct_answer() -> None:
    assert correct(SIX, 0.5).tolist() == [True, False, False, True, False, False]
    block = patient_block(SIX, SETTINGS)
    assert (block["patients"], block["unanswered"], block["abstained"]) == (6, 2, 1)
    assert block["accuracy"] == pytest.approx(2 / 6)
    assert block["accuracy_answered"] == pytest.approx(2 / 4)
    assert block["accuracy_without_abstained"] == pytest.approx(1 / 3)
    assert block["sensitivity"]["value"] == pytest.approx(1 / 3)
    assert block["ppv"]["value"] == pytest.approx(1 / 2)
    assert block["balanced_accuracy"] == pytest.approx(1 / 3)
    # Of the four answered: 0.9 wins twice, 0.4 once.
    assert block["auroc"]["value"] == pytest.approx(3 / 4)
    assert block["brier"]["value"] == pytest.approx((0.01 + 0.36 + 0.04 + 0.49) / 4)


def test_a_tuned_threshold_stands_beside_the_fixed_one() -> None:
    tuned = patient_block(SIX, SETTINGS, (0.3, "tuning"))["tuned"]
    assert (tuned["threshold"], tuned["tuned_on"]) == (0.3, "tuning")
    assert tuned["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert patient_block(SIX, SETTINGS, (NAN, "tuning"))["tuned"] is None


def test_without_slices_there_is_no_block_of_slices() -> None:
    assert slice_block(SIX, SETTINGS) is None


def test_what_json_cannot_hold_becomes_none() -> None:
    given = {"a": NAN, "b": [np.float64(0.5), float("inf")], "c": (np.int64(2), "x")}
    assert without_nan(given) == {"a": None, "b": [0.5, None], "c": [2, "x"]}


def test_subgroups_have_their_gap_or_the_reason_for_none() -> None:
    idh, probability = [1, 0, 1, 0, 1, 0, 1], [0.9, 0.1, 0.8, 0.9, 0.2, 0.8, 0.9]
    people = pd.DataFrame(
        {"sex": ["M"] * 3 + ["F"] * 3 + ["M"], "grade": [2, 2, 2, 3, 3, 3, 4]},
        index=[f"p{i}" for i in range(7)],
    )
    block = subgroup_block(_predictions(idh, probability), people, SETTINGS)
    groups = {(g["attribute"], g["group"]): g for g in block["groups"]}
    assert groups["sex", "male"]["accuracy"]["value"] == 1.0
    assert groups["sex", "female"]["accuracy"]["value"] == 0.0
    assert groups["grade", "4"]["too_small"] == "fewer than 3 patients"
    gap = next(g for g in block["gaps"] if (g["attribute"], g["measure"]) == ("sex", "accuracy"))
    assert (gap["best"], gap["worst"], gap["gap"]["value"]) == ("male", "female", 1.0)


def test_bands_name_every_value_once() -> None:
    assert bands((45.0, 60.0), "years") == [
        "under 45 years",
        "45 to 60 years",
        "60 years and over",
    ]
    assert bands((), "mL") == ["any mL"]


def test_masks_are_summed_up_and_the_worst_named() -> None:
    people = pd.DataFrame({"dice": [0.9, NAN, 0.5, 0.7], "site": list("abcd")}, index=list("wxyz"))
    block = segmentation_block(people, worst=2)
    assert block["dice"]["mean"] == pytest.approx(0.7)
    assert block["dice"]["sd"] == pytest.approx(0.2)
    assert block["dice"]["patients"] == 3
    assert [one["patient_id"] for one in block["worst"]] == ["y", "z"]
    assert block["hd95_mm"] == summary(np.array([]))


def test_the_gallery_begins_with_the_most_confident_wrong_calls() -> None:
    given = _predictions([0, 0, 0, 1, 1, 1], [0.7, 0.95, 0.1, 0.05, 0.4, NAN])
    people = pd.DataFrame(
        {"age": [30.0, 40, 50, 60, 70, 80], "Sphericity": [0.5, 0.9, 0.5, 0.5, 0.5, 0.5]},
        index=given.patient_id,
    )
    found = find_failures(given, people, None, SETTINGS)
    assert [(one.patient_id, one.kind) for one in found] == [
        ("p1", "false positive"),
        ("p0", "false positive"),
        ("p3", "false negative"),
        ("p4", "false negative"),
    ]
    assert next(iter(found[0].unusual)) == "Sphericity"
    assert found[0].features["age"] == 40.0
    assert found[0].image is None
