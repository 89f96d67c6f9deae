"""What a run says at its end: nobody who was given is left out without a word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.core.files import read_json, write_json
from pipelines import cli, local
from pipelines.profile import load_profile
from pipelines.summary import losses, summarise

CONTENTS = {
    "evaluation/evaluation.json": {
        **{"trained_on": "patients", "settings_sha256": "0" * 64, "models": []},
        "inputs": {"predictions_sha256": "0" * 64, "features_sha256": None},
        **{name: {} for name in ("tested_on", "settings", "sets", "per_slice", "comparisons")},
        **{name: {} for name in ("segmentation", "subgroups", "curves")},
        **dict.fromkeys(("cohorts", "importance", "saliency", "ablations", "robustness")),
    },
    "repository/release.json": {
        "release": "glioma-idh-1",
        "profile": "tiny",
        "trained_on": "patients",
        "plan": "0" * 64,
        "settings": {},
        "parity": {},
        "research_use_only": True,
        "files": {},
    },
    "published/published.json": {
        "mlflow_run_id": "1",
        "release": "glioma-idh-1",
        "gate": {"passed": False, "promotable": False, "rules": []},
    },
    "validated/validation.json": {
        "cohorts": {
            "development": {"patients": 3, "quarantined": 0},
            "snuh": {"patients": 4, "quarantined": 1},
            "nowhere": {"patients": 2, "quarantined": 2},
        }
    },
}


@pytest.fixture
def outputs(tmp_path: Path) -> dict[str, Path]:
    for name, content in CONTENTS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (tmp_path / "samples").mkdir()
    rows = ["D1,development", "D2,development", "D3,development", "S1,snuh", "S2,snuh"]
    (tmp_path / "samples" / "features.csv").write_text("\n".join(["patient_id,cohort", *rows]))
    return {path.name: path for path in tmp_path.iterdir()}


def test_every_patient_is_counted_once(outputs: dict[str, Path]) -> None:
    assert summarise(load_profile("demo"), outputs).content()["cohorts"] == {
        "development": {"patients": 3, "quarantined": 0, "failed": 0},
        "snuh": {"patients": 4, "quarantined": 1, "failed": 1},
        "nowhere": {"patients": 2, "quarantined": 2, "failed": 0},
    }


def test_a_cohort_that_lost_patients_has_a_line(outputs: dict[str, Path]) -> None:
    found = losses(summarise(load_profile("demo"), outputs), Path("runs/ours"))
    assert found == [
        "snuh: of 4 patients 1 quarantined (runs/ours/validated/quarantine.csv), "
        "1 failed (runs/ours/run.log)",
        "nowhere: of 2 patients 2 quarantined (runs/ours/validated/quarantine.csv); "
        "none is left, and it was not tested",
    ]


def test_a_run_that_mlflow_did_not_take_is_no_success(
    outputs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """mlflow#6490: `glioflow run` said neither that the run was kept nor how to send it."""
    file = tmp_path / "published" / "published.json"
    line = ["run", "--profile", "demo", "--out", str(tmp_path)]
    for reason, code in (("", 0), ("http://m: 403; send it later with `glioflow publish`", 2)):
        content = {**read_json(file), "pending": "pending" if reason else ""}
        content["gate"]["reason"] = reason
        write_json(file, content)
        summary = summarise(load_profile("demo"), outputs)
        monkeypatch.setattr(local, "run", lambda *a, done=summary, **k: done)
        assert cli.run(line) == cli.run([*line, "--json"]) == code
        said = capsys.readouterr()
        assert said.err.count(f"glioflow: {reason}") == (2 if reason else 0)
        assert json.loads(said.out)["unsent"] == reason
