"""A whole evaluation of a synthetic study of known skill, and the tables people hand in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components.core.errors import BadInput
from components.evaluate.evaluate import evaluate_predictions
from components.evaluate.predictions_file import PredictionFilter, evaluate_table
from components.evaluate.settings import EvaluateSettings
from components.evaluate.statistics.table_one import compare_manifests
from tests.evaluate.synthetic import make_study

MODELS = ("hybrid", "resnet", "radiomics", "age")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    predictions, features = make_study(folder, {"internal": 60, "north": 80, "south": 50})
    evaluate_predictions(
        predictions, features, EvaluateSettings(iterations=200), folder / "evaluation"
    )
    return folder


@pytest.fixture(scope="module")
def result(out: Path) -> dict[str, Any]:
    return json.loads((out / "evaluation" / "evaluation.json").read_text())


def test_every_set_has_every_model_with_its_intervals(result: dict[str, Any]) -> None:
    assert set(result["sets"]) == {"internal", "north", "south"}
    for block in result["sets"].values():
        for model in MODELS:
            for area in ("auroc", "auprc"):
                found = block[model][area]
                assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1


def test_more_skill_shows(result: dict[str, Any]) -> None:
    """Separations of the synthetic models fall from hybrid to age."""
    for block in result["sets"].values():
        areas = [block[model]["auroc"]["value"] for model in ("hybrid", "age")]
        assert areas == sorted(areas, reverse=True)


def test_the_figures_are_those_of_the_single_file_command(
    out: Path, result: dict[str, Any]
) -> None:
    table = pd.read_csv(out / "predictions.csv")
    one = table[(table.model == "hybrid") & (table.subset == "north")]
    one.to_csv(out / "north.csv", index=False)
    alone = evaluate_table(out / "north.csv", None, EvaluateSettings(iterations=200))
    block = result["sets"]["north"]["hybrid"]
    for name in ("auroc", "auprc"):
        assert alone[name]["value"] == pytest.approx(block[name]["value"])
    assert alone["accuracy"] == pytest.approx(block["accuracy"])


def test_slices_have_every_figure_that_patients_have(result: dict[str, Any]) -> None:
    block, sliced = result["sets"]["north"]["hybrid"], result["per_slice"]["north"]["hybrid"]
    only_of_patients = {"mutant", "wildtype", "unanswered", "unknown_idh", "abstained"}
    only_of_patients |= {"accuracy_answered", "accuracy_without_abstained", "confusion"}
    assert set(block) - only_of_patients <= set(sliced)
    for one in (block, sliced):
        for where in (one, one["tuned"]):
            limits = where["balanced_accuracy_ci"]
            assert limits["low"] < where["balanced_accuracy"] < limits["high"]
        for name in ("auroc", "auprc", "brier", "ece"):
            assert one[name]["low"] <= one[name]["value"] <= one[name]["high"], name
    assert sliced["calibration"]["slope"]["value"] != block["calibration"]["slope"]["value"]


def test_the_order_of_rows_changes_no_byte(out: Path, tmp_path: Path) -> None:
    table = pd.read_csv(out / "predictions.csv", dtype=str).sample(frac=1, random_state=1)
    table.to_csv(tmp_path / "predictions.csv", index=False)
    settings = EvaluateSettings(iterations=200, figures=False)
    shuffled = evaluate_predictions(tmp_path / "predictions.csv", out / "samples" / "features.csv",
                                    settings, tmp_path / "e")  # fmt: skip
    again = evaluate_predictions(out / "predictions.csv", out / "samples" / "features.csv",
                                 settings, tmp_path / "f")  # fmt: skip
    for one in (shuffled, again):
        one["inputs"].pop("predictions_sha256")
    assert shuffled == again


def test_gaps_stand_between_the_best_and_the_worst_group(result: dict[str, Any]) -> None:
    block = result["subgroups"]["north"]
    assert {gap["measure"] for gap in block["gaps"]} == {"accuracy", "auroc"}
    for gap in block["gaps"]:
        of = {g["group"]: g for g in block["groups"] if g["attribute"] == gap["attribute"]}
        best, worst = (of[gap[end]][gap["measure"]]["value"] for end in ("best", "worst"))
        sized = [g[gap["measure"]]["value"] for g in of.values() if not g["too_small"]]
        assert (best, worst) == (max(sized), min(sized))
        assert gap["gap"]["value"] == pytest.approx(best - worst)
        assert gap["gap"]["low"] <= gap["gap"]["value"] <= gap["gap"]["high"]


def test_the_report_stands_alone_and_says_what_it_is(out: Path) -> None:
    text = (out / "evaluation" / "report.html").read_text()
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "<script src" not in text
    for word in ("north", "south", "AUROC", "Dice", "calibration", "research"):
        assert word.lower() in text.lower(), word
    card = (out / "evaluation" / "model_card.md").read_text()
    assert "research use" in card.lower()


def rows(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patient_id,idh,probability\na,1,0.2\na,1,0.3\nb,0,0.1\n", "a"),
        ("patient_id,idh,probability\na,1,x\nb,0,0.1\n", "x"),
        ("patient_id,idh,probability\na,1,1.2\nb,0,0.1\n", "1.2"),
        ("patient_id,idh,probability\na,1,nan\nb,0,0.1\n", "missing"),
        ("patient_id,idh,probability\na,3,0.2\nb,0,0.1\n", "3"),
        ("patient_id,idh,probability\n", "row"),
        ("patient_id,label,probability\na,1,0.2\n", "idh"),
        ("patient_id,idh,probability\na,,0.2\nb,,0.1\n", "IDH"),
    ],
    ids=["twice", "no number", "above 1", "nan", "idh 3", "empty", "no idh", "unknown idh"],
)
def test_unusable_predictions_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        evaluate_table(rows(tmp_path / "p.csv", text), None, EvaluateSettings(iterations=100))
    assert said in str(refused.value)
    assert refused.value.remedy


def test_two_files_must_hold_the_same_patients_and_truth(tmp_path: Path) -> None:
    one = rows(tmp_path / "1.csv", "patient_id,idh,probability\na,1,0.9\nb,0,0.1\n")
    for name, text in {
        "missing": "patient_id,idh,probability\na,1,0.9\n",
        "other truth": "patient_id,idh,probability\na,0,0.9\nb,1,0.1\n",
    }.items():
        other = rows(tmp_path / "2.csv", text)
        with pytest.raises(BadInput):
            evaluate_table(one, other, EvaluateSettings(iterations=100)), name


def test_two_runs_are_compared_on_the_patients_they_share(tmp_path: Path) -> None:
    """A list of published scores: its own column's name, no truth, some patients of its own."""
    lines = []
    for i in range(10):
        who = f"p{i},{i % 2},{'internal' if i < 6 else 'north'}"
        lines += [f"{who},hybrid,{0.9 * (i % 2)}", f"{who},age,{0.1 + 0.08 * i}"]
    ours = rows(tmp_path / "p.csv", "\n".join(["patient_id,idh,subset,model,probability", *lines]))
    peer = [f"p{i},{0.1 * (i % 3)}" for i in range(2, 8)]
    theirs = rows(tmp_path / "q.csv", "\n".join(["patient_id,score", *peer, "stranger,0.5"]))
    settings = EvaluateSettings(iterations=100)
    choice = PredictionFilter(model="hybrid", subset="internal", other_column="score", shared=True)
    found = evaluate_table(ours, theirs, settings, choice)
    assert found["patients"] == 6
    test = found["against"]
    assert (test["patients"], test["only_first"], test["only_second"]) == (4, 2, 3)
    assert test["auroc"]["first"] == 1.0
    for wrong, said in (
        (PredictionFilter(model="hybrid", subset="internal", other_column="score"), "--shared"),
        (
            PredictionFilter(model="hybrid", other_column="score", shared=True, subset="south"),
            "internal",
        ),
        (PredictionFilter(model="forest", other_column="score"), "hybrid"),
        (PredictionFilter(subset="internal", other_column="score"), "--model"),
        (PredictionFilter(model="hybrid", subset="internal"), "probability"),
    ):
        with pytest.raises(BadInput) as refused:
            evaluate_table(ours, theirs, settings, wrong)
        assert said in str(refused.value), said


def test_one_class_only_is_documented_as_missing(tmp_path: Path) -> None:
    path = rows(tmp_path / "p.csv", "patient_id,idh,probability\na,1,0.9\nb,1,0.2\n")
    found = evaluate_table(path, None, EvaluateSettings(iterations=100))
    assert found["auroc"]["value"] is None
    assert found["accuracy"] == 0.5


def test_constant_predictions_are_chance(tmp_path: Path) -> None:
    lines = "\n".join(f"p{i},{i % 2},0.5" for i in range(20))
    path = rows(tmp_path / "p.csv", f"patient_id,idh,probability\n{lines}\n")
    found = evaluate_table(path, None, EvaluateSettings(iterations=100))
    assert found["auroc"]["value"] == 0.5
    assert found["auprc"]["value"] == pytest.approx(0.5)


@pytest.mark.real_data
def test_age_alone_and_the_peer_on_real_patients(data_dir: Path, tmp_path: Path) -> None:
    """Figures that the data's own README computed: age 0.71 on 53 patients, the peer 0.91 on 46."""
    cohort = pd.read_csv(data_dir / "tcga-lgg" / "manifest.csv")
    cohort = cohort[cohort.t1c.notna() & cohort.idh.notna()]
    age = pd.DataFrame(
        {
            "patient_id": cohort.patient_id,
            "idh": cohort.idh.astype(int),
            "probability": 1 - cohort.age / 120,
        }
    )
    age.to_csv(tmp_path / "age.csv", index=False)
    found = evaluate_table(tmp_path / "age.csv", None, EvaluateSettings(iterations=200))
    assert found["patients"] == 53
    assert found["auroc"]["value"] == pytest.approx(0.71, abs=0.005)


@pytest.mark.real_data
def test_a_real_cohort_does_not_differ_from_itself(data_dir: Path, tmp_path: Path) -> None:
    manifest = data_dir / "tcga-lgg" / "manifest.csv"
    again = tmp_path / "again.csv"
    again.write_bytes(manifest.read_bytes())
    found = compare_manifests([manifest, again])
    (comparison,) = found["comparisons"].values()
    for name in ("age", "sex", "idh", "grade"):
        assert comparison[name]["p"] == pytest.approx(1.0)
