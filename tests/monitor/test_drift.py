"""Drift is seen where it is, and not where it is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.core.errors import BadInput
from components.core.vocabulary import FEATURE_NAMES
from components.monitor.component import judge_drift_op
from components.monitor.drift import FEWEST, compare_samples, psi
from components.monitor.drift_report import judge_drift, read_answers
from pipelines import cli

QUANTILES = {"low": -1.6, "middle": 0.0, "high": 1.8}


def write_log(
    path: Path,
    seed: int,
    patients: int = 120,
    *,
    older: float = 0.0,
    abstains: float = 0.1,
    plain: float = 0.0,
) -> Path:
    """An audit log as serving/triton/models/answer.py writes it, with a canary at its end."""
    rng = np.random.default_rng(seed)
    lines = []
    for index in range(patients):
        found = rng.random() > 0.05
        numbers = rng.random(3) if found else [None] * 3
        features = rng.normal(size=len(FEATURE_NAMES)) + 50.0
        features[FEATURE_NAMES.index("age")] += older
        bright = {f"t1c {name}": float(rng.normal(z, 0.1)) for name, z in QUANTILES.items()}
        bright["t1c high"] -= plain
        status = ("abstain" if rng.random() < abstains else "ok") if found else "no_tumor"
        lines.append(
            {
                "request_id": str(index),
                "status": status,
                **dict(zip(("probability_idh_mutant", "uncertainty", "ood"), numbers, strict=True)),
                "features": {
                    name: float(value) if found else None
                    for name, value in zip(FEATURE_NAMES, features, strict=True)
                },
                "intensities": bright,
            }
        )
    lines.append({**lines[0], "request_id": "canary"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return write_log(tmp_path / "reference.jsonl", 0)


def test_the_same_patients_do_not_drift(reference: Path, tmp_path: Path) -> None:
    """False alarms are rare: none in twenty samples of the same distribution."""
    then = read_answers(reference)
    assert len(then) == 120
    for seed in range(1, 21):
        drift = compare_samples(then, read_answers(write_log(tmp_path / "now.jsonl", seed)))
        assert drift.enough and not drift.drifted


@pytest.mark.parametrize(
    ("change", "what"),
    [({"older": 2.0}, "age"), ({"abstains": 0.5}, "rate of abstain"), ({"plain": 0.2}, "t1c high")],
)
def test_a_shift_is_named(
    reference: Path, tmp_path: Path, change: dict[str, float], what: str
) -> None:
    now = write_log(tmp_path / "now.jsonl", 1, **change)  # type: ignore[arg-type]
    judge_drift(reference, now, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "drift.json").read_text())
    assert found["drifted"] is True
    assert what in [shift["what"] for shift in found["shifts"] if shift["drifted"]]
    assert (
        f'<tr class=drifted><th scope="row">{what}</th>'
        in (tmp_path / "out" / "drift.html").read_text()
    )


def test_too_few_answers_conclude_nothing(reference: Path, tmp_path: Path) -> None:
    now = read_answers(write_log(tmp_path / "now.jsonl", 1, FEWEST - 1, older=50.0))
    drift = compare_samples(read_answers(reference), now)
    assert not drift.enough and not drift.drifted


def test_psi_by_hand() -> None:
    """Ten equal bins, of which one loses its tenth to another."""
    then = np.arange(100.0)
    now = np.where(then < 10, 95.0, then)
    expected = (1e-4 - 0.1) * np.log(1e-4 / 0.1) + (0.2 - 0.1) * np.log(0.2 / 0.1)
    assert psi(then, now) == pytest.approx(expected)
    assert psi(then, then) == 0.0


def test_the_step_says_whether_to_retrain(reference: Path, tmp_path: Path) -> None:
    class Report:
        path = str(tmp_path / "report.html")

    same = write_log(tmp_path / "same.jsonl", 1)
    moved = write_log(tmp_path / "moved.jsonl", 1, older=2.0)
    assert judge_drift_op.python_func(str(reference), str(same), Report) is False
    assert judge_drift_op.python_func(str(reference), str(moved), Report) is True
    assert "Drifted: age" in Path(Report.path).read_text()


def test_the_command(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert cli.run(["drift", str(reference), str(reference), *out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["drifted"] is False
    (tmp_path / "bad.jsonl").write_text("{}\n")
    assert cli.run(["drift", str(reference), str(tmp_path / "bad.jsonl"), *out]) == 2
    assert "bad.jsonl:1" in capsys.readouterr().err


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="audit log"):
        read_answers(tmp_path / "none.jsonl")


def test_missing_numbers_stay_missing() -> None:
    table = pd.DataFrame({"status": ["ok"] * 40, "x": [np.nan] * 40})
    assert [shift.what for shift in compare_samples(table, table).shifts] == [
        "rate of ok",
        "rate of no_tumor",
        "rate of abstain",
    ]
