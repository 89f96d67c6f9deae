"""What Kubeflow runs around the graph: the exit handler, and the look for new data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler
from kfp.pipeline_spec import pipeline_spec_pb2

from components.core.errors import BadInput
from pipelines import cli
from pipelines.kubeflow import cluster
from pipelines.kubeflow.guarded import build_guarded
from pipelines.pipeline import build
from pipelines.profile import load_profile, profile_names
from tests.pipelines.kfp_api import kfp_api


@pytest.fixture(scope="module", params=profile_names())
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("compiled")
    profile = load_profile(request.param)
    cluster.compile_profile(profile, folder / "always.yaml")
    cluster.compile_profile(profile, folder / "new.yaml", only_new=True)
    cluster.compile_profile(profile, folder / "drift.yaml", on_drift=True)
    compiler.Compiler().compile(build(profile), str(folder / "local.yaml"))
    return {file.stem: list(yaml.safe_load_all(file.read_text())) for file in folder.iterdir()}


def _tasks(pipeline: Any, component: str = "") -> Any:
    dag = pipeline["components"][component] if component else pipeline["root"]
    return dag["dag"]["tasks"]


def test_the_api_reads_every_document(compiled: Any) -> None:
    """By the message that the KFP API parses the IR into: an unknown field would raise."""
    for documents in compiled.values():
        spec = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
        assert spec.pipeline_info.name == "glioflow"
        for document in documents[1:]:
            json_format.ParseDict(document, pipeline_spec_pb2.PlatformSpec())


def test_the_graph_inside_is_the_one_that_runs_on_one_machine(compiled: Any) -> None:
    def edges(tasks: Any) -> dict[str, list[str]]:
        return {name: task.get("dependentTasks", []) for name, task in tasks.items()}

    here = edges(_tasks(compiled["local"][0]))
    assert len(here) >= 9
    for name in ("always", "new", "drift"):
        assert edges(_tasks(compiled[name][0], "comp-glioflow")) == here


def test_what_mlflow_does_not_take_is_kept_where_the_disk_stays(compiled: Any) -> None:
    for name, part in (("always", "comp-glioflow"), ("local", "")):
        given = _tasks(compiled[name][0], part)["publish-op"]["inputs"]["parameters"]["keeps"]
        assert given == {"runtimeValue": {"constant": name == "local"}}


INNERMOST = {
    "always": "comp-exit-handler-1",
    "new": "comp-condition-2",
    "drift": "comp-condition-2",
}
"""Pipeline -> the part of it in which the run's own steps are."""


def test_the_check_comes_before_every_step(compiled: Any) -> None:
    for name, part in INNERMOST.items():
        tasks = _tasks(compiled[name][0], part)
        assert "dependentTasks" not in tasks["check-op"]
        assert not tasks["check-op"]["cachingOptions"].get("enableCache")
        assert tasks["glioflow"]["dependentTasks"] == ["check-op"]
        assert tasks["glioflow"]["inputs"]["parameters"]["cohorts"] == {
            "taskOutputParameter": {"outputParameterKey": "Output", "producerTask": "check-op"}
        }


def test_triton_in_the_check_has_shared_memory(compiled: Any) -> None:
    for name in INNERMOST:
        platform = compiled[name][1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        (mount,) = platform["exec-check-op"]["emptyDirMounts"]
        assert mount["mountPath"] == "/dev/shm"


def test_the_check_sees_the_volume_that_training_writes() -> None:
    profile = load_profile("paper")
    spec = build_guarded(profile).platform_spec  # type: ignore[attr-defined]
    platform = json_format.MessageToDict(spec)["platforms"]["kubernetes"]
    (mount,) = platform["deploymentSpec"]["executors"]["exec-check-op"]["pvcMount"]
    assert mount["constant"] == profile.cluster.checkpoints
    assert mount["mountPath"] == "/checkpoints"


def test_the_last_task_runs_whatever_happened(compiled: Any) -> None:
    for name in ("always", "new", "drift"):
        last = _tasks(compiled[name][0])["report-outcome-op"]
        assert last["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
        assert last["inputs"]["parameters"]["status"] == {
            "taskFinalStatus": {"producerTask": "exit-handler-1"}
        }
        assert not last["cachingOptions"].get("enableCache")
    assert "comp-report-outcome-op" not in compiled["local"][0]["components"]


def test_training_waits_for_drift(compiled: Any) -> None:
    pipeline = compiled["drift"][0]
    run = _tasks(pipeline, "comp-exit-handler-1")
    assert not run["judge-drift-op"]["cachingOptions"].get("enableCache")
    waits = run["condition-2"]
    assert waits["dependentTasks"] == ["judge-drift-op"]
    assert waits["triggerPolicy"]["condition"].endswith("judge-drift-op-Output'] == true")
    assert set(_tasks(pipeline, "comp-condition-2")) == {"check-op", "glioflow"}


def test_training_waits_for_new_manifests_and_remembers_them_when_it_succeeded(
    compiled: Any,
) -> None:
    pipeline = compiled["new"][0]
    run = _tasks(pipeline, "comp-exit-handler-1")
    assert run["condition-2"]["dependentTasks"] == ["find-new-cohorts-op"]
    condition = run["condition-2"]["triggerPolicy"]["condition"]
    assert condition.endswith("find-new-cohorts-op-is_new'] == true")
    inside = _tasks(pipeline, "comp-condition-2")
    assert set(inside) == {"check-op", "glioflow", "remember-cohorts-op"}
    assert inside["remember-cohorts-op"]["dependentTasks"] == ["glioflow"]
    for task in (run["find-new-cohorts-op"], inside["remember-cohorts-op"]):
        assert not task["cachingOptions"].get("enableCache")


def test_every_step_has_an_image_resources_and_retries(compiled: Any) -> None:
    for name in ("always", "new", "drift"):
        pipeline = compiled[name][0]
        for executor in pipeline["deploymentSpec"]["executors"].values():
            container = executor["container"]
            assert not container["image"].endswith(":latest")
            assert "pip install" not in " ".join(container["command"])
            assert {"resourceCpuLimit", "resourceMemoryLimit"} <= set(container["resources"])


def test_schedule_only_on_new_data() -> None:
    record = "s3://bucket/glioflow/seen.json"
    cohorts = {"development": "s3://b/d.csv"}
    with kfp_api() as (host, requests):
        client = cluster.connect_to_kubeflow(host)
        cluster.schedule(
            client, load_profile("demo"), cohorts, "", "glioflow", "0 */15 * * * *", record
        )
    body = next(body for _, path, body in requests if path.endswith("/recurringruns"))
    assert body["runtime_config"]["parameters"]["seen"] == record
    assert "find-new-cohorts-op" in str(body["pipeline_spec"])


@pytest.mark.parametrize("record", ["seen.json", "s3://bucket", "s3:///key"])
def test_the_record_of_a_schedule_lies_in_s3(record: str) -> None:
    with kfp_api() as (host, requests), pytest.raises(BadInput, match="not an S3 address"):
        cluster.schedule(
            cluster.connect_to_kubeflow(host),
            load_profile("demo"),
            {"development": "s3://b/d.csv"},
            "",
            "glioflow",
            "0 0 2 * * 1",
            record,
        )
    assert not any(path.endswith("/recurringruns") for _, path, _ in requests)


def test_status_names_steps_as_people_know_them() -> None:
    with kfp_api() as (host, _):
        found = cluster.status(cluster.connect_to_kubeflow(host), "run-1")
    assert found.failed
    assert [(task.name, task.state) for task in found.tasks] == [
        ("train-segmenter-op", "FAILED"),
        ("validate-op", "SUCCEEDED"),
    ]
    assert (found.tasks[0].ended - found.tasks[0].started).total_seconds() == 5400


def test_status_of_the_newest_run_ends_in_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with kfp_api() as (host, requests):
        assert cli.run(["status", "--host", host]) == 1
    said = capsys.readouterr().err
    assert "train-segmenter-op" in said
    assert "CUDA out of memory" in said
    assert ("GET", "/apis/v2beta1/runs") in {(method, path) for method, path, _ in requests}


def test_status_of_an_unknown_run_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    with kfp_api() as (host, _):
        assert cli.run(["status", "nobody", "--host", host]) == 2
    assert "run nobody: no such run" in capsys.readouterr().err


SECRETS = ("AKIA", "BEGIN PRIVATE KEY", "password=", "secret_access_key=", "hooks.slack.com")


def test_no_secret_is_compiled(
    compiled: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Even when the one who compiles has them in the environment."""
    values = {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY",
        "MLFLOW_TRACKING_PASSWORD": "correct-horse-battery",
        "GLIOFLOW_WEBHOOK_URL": "https://hooks.example/T000/B000/XXXX",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    cluster.compile_profile(load_profile("paper"), tmp_path / "again.yaml", only_new=True)
    texts = [(tmp_path / "again.yaml").read_text(), *(str(d) for d in compiled.values())]
    for text in texts:
        for secret in (*values.values(), *SECRETS):
            assert secret.lower() not in text.lower()
