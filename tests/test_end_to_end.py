"""One small run through everything: KFP's local runner, MLflow, a real Triton, gRPC."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from components.cohort.manifest import Patient, read_manifest
from components.core.errors import StepFailed
from components.registry.audit.audit import audit
from components.release.inference.local_release import LocalRelease
from pipelines import local
from pipelines.profile import load_profile
from serving.client.client import Client
from serving.predict import PatientFiles, predict_patient
from serving.triton.server import LocalServer

TINY = Path(__file__).parent / "tiny.yaml"
STEPS = (
    "validated",
    "segmenter",
    "samples",
    "classifier",
    "predictions",
    "evaluation",
    "repository",
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "out"


@pytest.fixture(scope="module")
def seen() -> list[local.Event]:
    return []


@pytest.fixture(scope="module")
def summary(out: Path, seen: list[local.Event]) -> dict[str, Any]:
    return local.run(load_profile(str(TINY)), {}, out, watch=seen.append).content()


@pytest.fixture(scope="module")
def server(summary: dict[str, Any], out: Path) -> Iterator[LocalServer]:
    with LocalServer(out / "repository") as running:
        yield running


@pytest.fixture(scope="module")
def patient(summary: dict[str, Any], out: Path) -> Patient:
    accepted = read_manifest(out / "validated" / "accepted.csv")
    return next(p for p in accepted if p.extra["cohort"] == "tcia")


def test_summary_has_what_others_parse(summary: dict[str, Any], out: Path) -> None:
    assert json.loads((out / "summary.json").read_text()) == summary
    assert summary["profile"] == "tiny"
    assert summary["trained_on"] == "phantoms"
    assert set(summary["sets"]) == {"internal", "tcia"}
    for block in summary["sets"].values():
        assert {"patients", "dice", "hybrid", "resnet", "radiomics", "age"} <= set(block)
        assert {"accuracy", "auroc", "auprc"} <= set(block["hybrid"])
        assert {"value", "low", "high"} <= set(block["hybrid"]["auroc"])
    assert summary["sets"]["tcia"]["patients"] == 6


def test_phantoms_are_never_promoted(summary: dict[str, Any]) -> None:
    assert summary["gate"]["passed"] is False
    refused = {rule["rule"] for rule in summary["gate"]["rules"] if not rule["passed"]}
    assert "trained_on_patients" in refused


def test_every_step_told_its_progress(summary: dict[str, Any], seen: list[local.Event]) -> None:
    steps = {event.step for event in seen}
    assert steps >= {"cohort", "validate", "preprocess", "segment", "features", "classify"}
    assert {event.pid for event in seen if event.step == "preprocess"} != set()


def test_nobody_is_lost_on_the_way(summary: dict[str, Any], out: Path) -> None:
    import pandas as pd

    accepted = {p.patient_id for p in read_manifest(out / "validated" / "accepted.csv")}
    samples = pd.read_csv(out / "samples" / "features.csv")
    failed = set()
    if (out / "samples" / "failed.csv").is_file():
        failed = set(pd.read_csv(out / "samples" / "failed.csv")["patient_id"])
    assert set(samples["patient_id"]) | failed == accepted


def test_a_second_run_reuses_what_did_not_change(summary: dict[str, Any], out: Path) -> None:
    before = {name: (out / name).resolve() for name in STEPS}
    again = local.run(load_profile(str(TINY)), {}, out).content()
    assert {name: (out / name).resolve() for name in STEPS} == before
    assert again["sets"] == summary["sets"]
    assert again["release"] == summary["release"]
    assert again["mlflow_run_id"] != ""


def test_the_auditor_finds_every_link_whole(summary: dict[str, Any], out: Path) -> None:
    report = audit("glioma-idh@candidate", f"sqlite:///{out / 'mlflow' / 'mlflow.db'}")
    assert report.ok, [check for check in report.checks if not check.ok]
    assert len(report.checks) >= 10


def test_the_lineage_says_when_where_and_with_what(summary: dict[str, Any], out: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{out / 'mlflow' / 'mlflow.db'}")
    run = client.get_run(summary["mlflow_run_id"])
    assert run.data.tags["kfp_run_id"]
    assert run.data.params["seed.cohort.seed"] == "3"
    assert run.data.params["settings.segment.steps"] == "60"
    steps = {"validate", "preprocess", "segment", "features", "classify", "evaluate", "export"}
    assert {f"seconds.{step}" for step in steps} <= set(run.data.metrics)
    assert run.data.metrics["seconds.segment"] > 1.0


PREDICT = """
import json, sys
import mlflow
import pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/glioma-idh@candidate")
print(json.dumps(model.predict(pandas.DataFrame([json.loads(sys.argv[2])])).to_dict("records")))
"""
"""What an MLflow user writes: nothing of ours is imported but by the model itself."""


def test_mlflow_alone_predicts_on_a_manifest_row(
    summary: dict[str, Any], patient: Patient, out: Path, tmp_path: Path
) -> None:
    row = {
        "patient_id": patient.patient_id,
        "site": patient.site,
        "t1c": patient.t1c,
        "t2": patient.t2,
        "flair": patient.flair,
        "age": patient.age,
    }
    uri = f"sqlite:///{out / 'mlflow' / 'mlflow.db'}"
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, uri, json.dumps(row)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout.splitlines()[-1])
    files = PatientFiles(
        t1c=Path(str(patient.t1c)),
        t2=Path(str(patient.t2)),
        flair=Path(str(patient.flair)),
        age=float(patient.age or 0),
        patient_id=patient.patient_id,
    )
    direct = predict_patient(LocalRelease(out / "repository"), files, tmp_path / "library")
    assert answer["release"] == summary["release"] == direct["release"]
    assert answer["status"] == direct["status"]
    assert answer["probability_idh_mutant"] == pytest.approx(
        direct["probability_idh_mutant"], abs=1e-4
    )


def test_triton_says_what_the_library_says(
    server: LocalServer, patient: Patient, out: Path, tmp_path: Path
) -> None:
    files = PatientFiles(
        t1c=Path(str(patient.t1c)),
        t2=Path(str(patient.t2)),
        flair=Path(str(patient.flair)),
        age=float(patient.age or 0),
        patient_id=patient.patient_id,
    )
    with Client(server.grpc_address) as client:
        answer = predict_patient(client, files, tmp_path / "triton")
    direct = predict_patient(LocalRelease(out / "repository"), files, tmp_path / "library")
    assert answer["status"] == direct["status"]
    if answer["probability_idh_mutant"] is not None:
        assert answer["probability_idh_mutant"] == pytest.approx(
            direct["probability_idh_mutant"], abs=1e-4
        )
    masks = [
        sitk.ReadImage(str(tmp_path / who / "tumor_mask.nii.gz")) for who in ("triton", "library")
    ]
    assert np.array_equal(*(sitk.GetArrayFromImage(mask) for mask in masks))
    assert masks[0].GetSize() == sitk.ReadImage(str(patient.t1c)).GetSize()
    assert answer["trained_on"] == "phantoms"
    assert any("phantom" in warning for warning in answer["warnings"])
    written = json.loads((tmp_path / "triton" / "prediction.json").read_text())
    assert written["release"] == answer["release"]
    assert len(written["slices"]) == 5
    assert (tmp_path / "triton" / "prediction.png").stat().st_size > 10_000


def test_the_server_is_ready_when_the_ensemble_answers(server: LocalServer) -> None:
    with Client(server.grpc_address) as client:
        assert client.canary() is None


def test_no_secret_reaches_log_or_artifacts(summary: dict[str, Any], out: Path) -> None:
    secrets = [v for k, v in os.environ.items() if k.endswith(("_KEY", "_TOKEN", "_PASSWORD"))]
    log = (out / "run.log").read_text(errors="replace")
    assert not [secret for secret in secrets if len(secret) > 8 and secret in log]


def test_a_killed_export_is_resumed_where_it_was(summary: dict[str, Any], out: Path) -> None:
    profile = load_profile(str(TINY))
    serving = profile.serving.model_copy(update={"classifier_delay_ms": 3.0})
    changed = profile.model_copy(update={"serving": serving})
    kept = {name: (out / name).resolve() for name in STEPS if name != "repository"}

    def kill(event: local.Event) -> None:
        if event.step == "export":
            os.kill(event.pid, signal.SIGKILL)

    with pytest.raises(StepFailed, match="step export failed"):
        local.run(changed, {}, out, watch=kill)
    again = local.run(changed, {}, out).content()
    assert {name: (out / name).resolve() for name in kept} == kept
    assert again["sets"] == summary["sets"]
    assert again["release"] != summary["release"]
