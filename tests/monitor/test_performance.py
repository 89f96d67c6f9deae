"""Late labels: who is joined to what, what is observed, and what is expected until they come."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from components.core.errors import BadInput
from components.core.tables import read_csv, write_csv
from components.monitor.late_labels import join_labels
from components.monitor.performance import DRAWS, drawn_figures, judge_outcomes
from components.monitor.performance_report import outcomes_sentence, write_outcomes
from pipelines import cli


def _log(path: Path, probability: np.ndarray, *, releases: tuple[str, ...] = ("r1",)) -> Path:
    """An audit log over three months, with a canary and an answer without a tumour at its end."""
    lines = [
        {
            "time": f"2026-0{1 + index % 3}-10T08:00:00Z", "request_id": f"q{index}",
            "release": releases[index % len(releases)], "input_sha256": f"{index:064x}",
            "status": "ok", "probability_idh_mutant": float(p),
            "conformal": {"idh": "both", "level": 0.9, "calibrated_on": {"mutant": 40}},
        }
        for index, p in enumerate(probability)
    ]  # fmt: skip
    nothing = {"status": "no_tumor", "probability_idh_mutant": None, "conformal": None}
    lines.append({**lines[0], **nothing, "request_id": "q-none", "input_sha256": "f" * 64})
    lines.append({**lines[0], "request_id": "canary"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _labels(path: Path, idh: np.ndarray | list[int], key: str = "request_id") -> Path:
    write_csv(path, (key, "idh"), [(f"q{index}", int(y)) for index, y in enumerate(idh)])
    return path


@pytest.fixture
def probability() -> np.ndarray:
    return np.random.default_rng(0).beta(0.7, 0.7, 300)


def test_expected_figures_are_those_of_labels_drawn_from_the_probabilities() -> None:
    """Against sums: E[accuracy] = mean max(p, 1 - p), and its variance is that of Bernoullis."""
    p = np.array([0.1, 0.1, 0.3, 0.6, 0.8, 0.8, 0.95])
    accuracy, auroc = drawn_figures(p, 1)
    right = np.maximum(p, 1 - p)
    error = np.sqrt((right * (1 - right)).sum()) / len(p)
    assert abs(accuracy.mean() - right.mean()) < 5 * error / np.sqrt(DRAWS)
    assert accuracy.std() == pytest.approx(error, rel=0.1)
    assert np.nanmin(auroc) >= 0.0
    assert np.nanmean(auroc) > 0.7


def test_right_probabilities_raise_no_alarm_and_wrong_ones_do(
    tmp_path: Path, probability: np.ndarray
) -> None:
    random = np.random.default_rng(1)
    answers = _log(tmp_path / "log.jsonl", probability)
    right = (random.random(300) < probability).astype(int)
    found = judge_outcomes(join_labels(answers, _labels(tmp_path / "a.csv", right)))
    assert (found.whole.answers, found.whole.answered, found.whole.labelled) == (301, 300, 300)
    assert found.fell_short == ()
    assert [month.group for month in found.months] == ["2026-01", "2026-02", "2026-03"]
    observed = found.whole.observed
    assert observed is not None
    assert observed.calibration.slope.low < 1 < observed.calibration.slope.high  # type: ignore[operator]
    assert observed.conformal is not None
    assert observed.conformal.classes["mutant"].covered.value == 1.0
    overconfident = (random.random(300) < 0.5 + 0.3 * (probability - 0.5)).astype(int)
    found = judge_outcomes(join_labels(answers, _labels(tmp_path / "b.csv", overconfident)))
    assert "all" in found.fell_short
    assert "Worse than the probabilities say" in outcomes_sentence(found)


def test_until_labels_come_only_expectations_are_given(
    tmp_path: Path, probability: np.ndarray
) -> None:
    labels = tmp_path / "none.csv"
    labels.write_text("request_id,idh\nq0,\n")
    found = write_outcomes(_log(tmp_path / "log.jsonl", probability), labels, tmp_path / "out")
    assert found.whole.observed is None
    assert found.whole.expected is not None
    assert "Too few labels" in outcomes_sentence(found)
    assert "Outcomes of the answers" in (tmp_path / "out" / "outcomes.html").read_text()


def test_unknown_and_contradictory_labels_are_quarantined(tmp_path: Path) -> None:
    answers = _log(tmp_path / "log.jsonl", np.full(4, 0.7))
    labels = tmp_path / "labels.csv"
    labels.write_text("request_id,idh\nq0,1\nq0,1\nstranger,0\nq1,1\nq1,0\nq2,0\n")
    found = write_outcomes(answers, labels, tmp_path / "out")
    assert (found.unused, found.whole.labelled) == (2, 2)
    rows = read_csv(tmp_path / "out" / "quarantine.csv")
    assert [(r["row"], r["request_id"], r["reason"]) for r in rows] == [
        ("3", "stranger", "no answer was given"),
        ("4", "q1", "both mutant and wildtype"),
    ]


def test_of_two_answers_of_one_patient_the_last_counts_and_each_release_keeps_its_own(
    tmp_path: Path,
) -> None:
    answers = tmp_path / "predictions.csv"
    answers.write_text(
        "patient_id,status,probability_idh_mutant,release\n"
        "a,ok,0.1,old\nb,ok,0.2,old\na,ok,0.3,old\na,ok,0.9,new\n"
    )
    labels = tmp_path / "labels.csv"
    labels.write_text("patient_id,idh\na,1\nb,0\n")
    found = judge_outcomes(join_labels(answers, labels))
    assert (found.whole.answers, found.repeated, found.months) == (2, 2, ())
    assert found.whole.observed is not None
    assert found.whole.observed.accuracy.value == 1.0
    old = next(group for group in found.releases if group.group == "old")
    assert old.observed is not None
    assert (old.answers, old.observed.accuracy.value) == (2, 0.5)


@pytest.mark.parametrize(
    ("answers", "labels", "said_of_it"),
    [
        (None, "request_id,idh\nq0,mutant\n", "'mutant' is not one of 0, 1"),
        (None, "request_id,status\nq0,1\n", "column 'idh' is missing"),
        (None, "patient_id,idh\nq0,1\n", "no column to find the answers by"),
        (None, "request_id,idh\nz,1\n", "no request_id is that of an answer"),
        ("patient_id,status\n", "patient_id,idh\na,1\n", "column 'release' is missing"),
        ("patient_id,release,status,probability_idh_mutant\na,r,ok,7\n", "patient_id,idh\na,1\n",
         "not a probability"),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_is_refused_in_one_line(
    tmp_path: Path, answers: str | None, labels: str, said_of_it: str
) -> None:
    given = _log(tmp_path / "log.jsonl", np.full(2, 0.7))
    if answers is not None:
        given = tmp_path / "predictions.csv"
        given.write_text(answers)
    (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(BadInput, match=said_of_it):
        write_outcomes(given, tmp_path / "labels.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_writes_json_page_and_quarantine(
    tmp_path: Path, probability: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = _log(tmp_path / "log.jsonl", probability, releases=("r1", "r2"))
    labels = _labels(tmp_path / "labels.csv", probability > 0.4)
    out = tmp_path / "out"
    arguments = ["outcomes", str(answers), str(labels), "--out", str(out), "--json"]
    assert cli.run(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "outcomes.json").read_text())
    assert [group["group"] for group in printed["releases"]] == ["r1", "r2"]
    assert {p.name for p in out.iterdir()} == {"outcomes.json", "outcomes.html", "quarantine.csv"}
