"""What stands beside the figures (importance, saliency, ablations, robustness); sets apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.core.errors import BadInput
from components.core.files import write_json
from components.core.vocabulary import FEATURE_NAMES
from components.evaluate.evaluate import evaluate_predictions
from components.evaluate.report.supplements import Supplements
from components.evaluate.settings import EvaluateSettings
from components.evaluate.steps import StepInputs, StepViews, evaluate_set_step, evaluate_step
from components.evaluate.studies.ablations import evaluate_ablations
from components.evaluate.studies.robustness import Trial, evaluate_robustness
from tests.evaluate.synthetic import make_study

SETTINGS = EvaluateSettings(iterations=100, figures=False, min_subgroup=5, min_class=1)
SETS = {"internal": 30, "north": 40}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StepInputs:
    """A study, its classifier's papers and its manifest with a hospital's own column."""
    folder = tmp_path_factory.mktemp("more")
    predictions, features = make_study(folder, SETS, carried={"t1c_slice_mm": ("1.0", "5.0")})
    people = pd.read_csv(features)
    model = folder / "classifier"
    members = [
        {
            "features": {
                "kept": ["age", "Frontal Lobe"][: 2 - index],
                "p_values": dict.fromkeys(FEATURE_NAMES, 0.02 + 0.02 * index),
            }
        }
        for index in range(2)
    ]
    write_json(model / "model.json", {"members": members})
    falls = [
        {"age": {"mean": 0.2, "sd": 0.03}, "Frontal Lobe": {"mean": 0.05, "sd": 0.01}},
        {"age": {"mean": 0.1, "sd": 0.04}},
    ]
    write_json(model / "forest.json", {"permutation_importance": falls})
    (model / "saliency").mkdir()
    places = ("inside", "rim", "elsewhere")
    columns = [f"{what}_{place}" for what in ("t1c", "t2", "area") for place in places]
    lines = [",".join(["patient_id", "subset", *columns])]
    for name, subset in zip(people.patient_id, people.subset, strict=True):
        lines.append(f"{name},{subset},0.5,0.3,0.2,0.6,0.2,0.2,0.1,0.1,0.8")
        np.save(model / "saliency" / f"{name}.npy", np.ones((5, 2, 32, 32), np.float32))
    (model / "saliency.csv").write_text("\n".join(lines) + "\n")
    manifest = people[["patient_id", "cohort", "subset", "idh", "age", "site"]].copy()
    manifest["field_strength"] = np.where(np.arange(len(manifest)) % 2, "1.5 T", "3 T")
    (folder / "validated").mkdir()
    manifest.to_csv(folder / "validated" / "accepted.csv", index=False)
    return StepInputs(predictions, features.parent, model, folder / "validated")


def judge(study: StepInputs, out: Path, **options: Any) -> dict[str, Any]:
    return evaluate_predictions(
        study.table, study.features, SETTINGS, out, supplements=study.supplements, **options
    )


def test_sets_judged_apart_and_joined_say_what_one_evaluation_says(
    study: StepInputs, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    judge(study, whole)
    views = StepViews(*(tmp_path / name for name in ("report.html", "metrics.json", "roc.json")))
    parts = [tmp_path / "parts" / name for name in SETS]
    for part in parts:
        shown = evaluate_set_step(study, part.name, SETTINGS, part, views)
        assert {name.partition("_")[0] for name in shown.metrics} == {part.name}
        assert shown.confusion
    evaluate_step(study, parts, SETTINGS, tmp_path / "joined", views)
    for name in ("evaluation.json", "report.html", "model_card.md"):
        assert (tmp_path / "joined" / name).read_bytes() == (whole / name).read_bytes(), name
    assert views.report.read_bytes() == (whole / "report.html").read_bytes()
    with pytest.raises(BadInput, match="other predictions or by other settings"):
        evaluate_step(study, parts, EvaluateSettings(iterations=101), tmp_path / "x", views)
    with pytest.raises(BadInput, match="no prediction is of it"):
        evaluate_set_step(study, "south", SETTINGS, tmp_path / "x", views)


def test_importance_is_averaged_over_members(study: StepInputs, tmp_path: Path) -> None:
    result = judge(study, tmp_path)
    age, frontal, *others = result["importance"]
    assert (age["feature"], age["kept"], age["members"]) == ("age", 2, 2)
    assert age["importance"]["mean"] == pytest.approx(0.15)
    assert age["importance"]["sd"] == pytest.approx(np.sqrt((0.03**2 + 0.04**2) / 2))
    assert age["p"] == pytest.approx(0.03)
    assert (frontal["feature"], frontal["kept"]) == ("Frontal Lobe", 1)
    assert len(others) == len(FEATURE_NAMES) - 2
    assert {row["importance"] for row in others} == {None}
    people = pd.read_csv(study.features)
    mutant = people[(people.cohort == "development") & (people.idh == 1)]
    assert age["mutant"]["mean"] == pytest.approx(mutant.age.mean())


def test_saliency_subgroups_and_gallery_reach_the_report(study: StepInputs, tmp_path: Path) -> None:
    result = judge(study, tmp_path)
    assert result["saliency"]["north"] == {
        "patients": SETS["north"],
        "t1c": {"inside": 0.5, "rim": 0.3, "elsewhere": 0.2},
        "t2": {"inside": 0.6, "rim": 0.2, "elsewhere": 0.2},
        "area": {"inside": 0.1, "rim": 0.1, "elsewhere": 0.8},
    }
    groups = {(g["attribute"], g["group"]) for g in result["subgroups"]["north"]["groups"]}
    assert {("T1C slice", "under 1.5 mm"), ("T1C slice", "4 mm and over")} <= groups
    assert {("field_strength", "1.5 T"), ("field_strength", "3 T")} <= groups
    text = (tmp_path / "report.html").read_text()
    assert "each followed by its saliency" in text
    assert "Where the hybrid looks" in text
    assert "glioflow ablate" in text


def test_nothing_more_is_known_without_a_classifier(study: StepInputs, tmp_path: Path) -> None:
    result = evaluate_predictions(study.table, study.features, SETTINGS, tmp_path)
    assert {result[k] for k in ("importance", "saliency", "ablations", "robustness")} == {None}
    write_json(tmp_path / "broken" / "forest.json", {"permutation_importance": []})
    with pytest.raises(BadInput, match="not a classifier's folder"):
        Supplements(classifier=tmp_path / "broken").read(None, [])


def ablation_folder(root: Path, name: str, skill: float, seed: int = 0) -> Path:
    """Folder of an ablation whose ResNet separates the classes by `skill`."""
    folder = root / name
    make_study(folder, SETS, seed=seed, images=False, models={"resnet": skill})
    write_json(
        folder / "ablation.json",
        {"name": name, "title": name.replace("-", " "), "models": ["resnet"], "of_images": True,
         "settings": {"warm": {"epochs": 3}, "fine": {"epochs": 2}, "seeds": 1}},
    )  # fmt: skip
    return folder


def test_ablations_stand_beside_the_paper(study: StepInputs, tmp_path: Path) -> None:
    folders = [
        ablation_folder(tmp_path, name, skill)
        for name, skill in (("full", 3.0), ("1-slice", 1.5), ("tumor-masked-out", 0.0))
    ]
    result = evaluate_ablations(folders, SETTINGS, tmp_path / "out")
    assert len(result["rows"]) == 3 * len(SETS)
    north = {row["ablation"]: row for row in result["rows"] if row["set"] == "north"}
    assert north["full"]["lost"] is None
    assert north["tumor-masked-out"]["lost"]["value"] == pytest.approx(
        north["full"]["auroc"]["value"] - north["tumor-masked-out"]["auroc"]["value"]
    )
    assert north["tumor-masked-out"]["delong_p"] < 0.05
    table = pd.read_csv(tmp_path / "out" / "ablations.csv")
    assert len(table) == len(result["rows"])
    assert "0.55 to 0.71" in (tmp_path / "out" / "ablations.md").read_text()
    judged = evaluate_predictions(
        study.table, study.features, SETTINGS, tmp_path / "e",
        supplements=Supplements(ablations=tmp_path / "out" / "ablations.json"),
    )  # fmt: skip
    assert judged["ablations"]["rows"] == json.loads(json.dumps(result["rows"]))
    assert "tumor masked out" in (tmp_path / "e" / "report.html").read_text()
    with pytest.raises(BadInput, match="none is named 'full'"):
        evaluate_ablations(folders[1:], SETTINGS, tmp_path / "x")


def trial(level: float, index: int, **changes: Any) -> Trial:
    idh = index % 2
    given = {
        "degradation": "noise", "unit": "share", "level": level, "label": f"{level:g}",
        "patient_id": f"p{index}", "idh": idh, "status": "ok",
        "probability": 0.9 if idh else 0.1, "dice": 0.8, **changes,
    }  # fmt: skip
    return Trial(**given)


def test_robustness_counts_whoever_got_no_answer(study: StepInputs, tmp_path: Path) -> None:
    nan = float("nan")
    trials = [trial(0.1, i) for i in range(8)]
    trials += [trial(0.2, i, probability=0.5) for i in range(5)]
    trials += [trial(0.2, 5, probability=nan, dice=0.0, status="no_tumor")]
    trials += [trial(0.2, 6, probability=nan, dice=nan, status="")]
    trials += [trial(0.2, 7, probability=0.6, status="abstain")]
    result = evaluate_robustness(trials[::-1], {"site": "snuh", "patients": 8, "release": "r"},
                                 SETTINGS, tmp_path)  # fmt: skip
    ((first, second),) = [one["levels"] for one in result["degradations"]]
    assert first["accuracy"]["value"] == first["auroc"]["value"] == 1.0
    assert [second[k] for k in ("patients", "answered", "abstained", "no_tumor", "refused")] == [
        8, 6, 1, 1, 1,
    ]  # fmt: skip
    assert second["accuracy"]["value"] == pytest.approx(3 / 8)
    assert second["dice"]["patients"] == 7
    assert len(pd.read_csv(tmp_path / "robustness.csv")) == 16
    evaluate_predictions(
        study.table, study.features, EvaluateSettings(iterations=100), tmp_path / "e",
        supplements=Supplements(study.classifier, robustness=tmp_path / "robustness.json"),
    )  # fmt: skip
    text = (tmp_path / "e" / "report.html").read_text()
    assert "Performance by noise" in text
    assert "Permutation importance of the forest" in text
