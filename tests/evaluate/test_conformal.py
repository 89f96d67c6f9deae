"""Coverage of conformal sets: counts by hand, exact limits, and who is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from components.evaluate.evaluate import evaluate_predictions
from components.evaluate.settings import EvaluateSettings
from components.evaluate.statistics.conformal import coverage_block
from tests.evaluate.synthetic import make_study


def _rows(*counts: tuple[int | None, str | None, int]) -> pd.DataFrame:
    rows = [(idh, found, 0.9) for idh, found, count in counts for _ in range(count)]
    return pd.DataFrame(rows, columns=["idh", "idh_set", "set_level"])


def test_a_class_is_covered_by_its_own_status_and_by_both() -> None:
    block = coverage_block(
        _rows((1, "mutant", 6), (1, "both", 2), (1, "wildtype", 1), (1, "none", 1),
              (0, "wildtype", 10), (None, "mutant", 3), (1, None, 4)),
        0.95,
    )  # fmt: skip
    assert block is not None
    assert block["sets"] == {"mutant": 6, "wildtype": 11, "both": 2, "none": 1}
    mutant, wildtype = block["classes"]["mutant"], block["classes"]["wildtype"]
    # Clopper-Pearson limits of 8 of 10 and of 10 of 10; P(X <= 8 | 10, 0.9) = 1 - 0.7361.
    assert mutant["patients"] == 10
    assert mutant["covered"] == pytest.approx(
        {"value": 0.8, "low": 0.4439, "high": 0.9748}, abs=1e-4
    )
    assert mutant["p"] == pytest.approx(0.2639, abs=1e-4)
    assert wildtype["covered"]["low"] == pytest.approx(0.6915, abs=1e-4)
    assert wildtype["p"] == 1.0


def test_nothing_is_said_without_sets_or_of_an_absent_class() -> None:
    assert coverage_block(pd.DataFrame({"idh": [1, 0]}), 0.95) is None
    assert coverage_block(_rows((1, None, 2)), 0.95) is None
    block = coverage_block(_rows((1, "mutant", 2)), 0.95)
    assert block is not None
    assert block["classes"]["wildtype"]["covered"]["value"] is None


def test_the_evaluation_and_its_report_tell_coverage_of_the_sets_that_have_any(
    tmp_path: Path,
) -> None:
    predictions, features = make_study(tmp_path, {"internal": 40, "north": 40})
    table = pd.read_csv(predictions)
    known = (table["model"] == "hybrid") & (table["subset"] == "north") & table["slice"].isna()
    known &= table["probability"].notna()
    table.loc[known, "idh_set"] = "both"
    table.loc[known, "set_level"] = 0.9
    table.to_csv(predictions, index=False)
    settings = EvaluateSettings(iterations=100, figures=False)
    evaluate_predictions(predictions, features, settings, tmp_path / "out")
    result = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert list(result["conformal"]) == ["north"]
    covered = result["conformal"]["north"]["classes"]
    assert covered["mutant"]["patients"] + covered["wildtype"]["patients"] == known.sum()
    assert covered["mutant"]["covered"]["value"] == 1.0
    attributes = {group["attribute"] for group in result["subgroups"]["north"]["groups"]}
    assert not {"idh_set", "set_level"} & attributes
    page = (tmp_path / "out" / "report.html").read_text()
    assert "How often the true status lies" in page
