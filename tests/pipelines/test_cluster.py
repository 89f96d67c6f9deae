"""The compiled pipeline, and what is sent to a KFP API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.core.errors import BadInput
from pipelines.kubeflow import cluster
from pipelines.profile import load_profile, profile_names
from tests.pipelines.kfp_api import ANSWERS, BODIES, LISTS, kfp_api
from tests.pipelines.kfp_schema import breaches

STEPS = {
    "make-cohorts-op": set(),
    "image-shards": {"make-cohorts-op"},
    "validate-op": {"make-cohorts-op", "image-shards"},
    "preprocess-shards": {"validate-op"},
    "train-segmenter-op": {"preprocess-shards"},
    "extract-features-op": {"preprocess-shards", "train-segmenter-op"},
    "train-classifiers-op": {"extract-features-op"},
    "test-sets": {"validate-op", "train-classifiers-op", "extract-features-op"},
    "evaluate-op": {"validate-op", "train-classifiers-op", "extract-features-op", "test-sets"},
    "export-op": {"preprocess-shards", "train-segmenter-op", "train-classifiers-op"},
    "publish-op": {
        "validate-op",
        "train-segmenter-op",
        "extract-features-op",
        "train-classifiers-op",
        "evaluate-op",
        "export-op",
    },
}
"""Step -> steps it waits for."""


@pytest.fixture(scope="module", params=profile_names())
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    cluster.compile_profile(load_profile(request.param), out)
    return request.param, *inside(*yaml.safe_load_all(out.read_text()))


def inside(pipeline: Any, *platform: Any) -> tuple[Any, tuple[Any, ...]]:
    """The graph inside the exit handler as a pipeline of its own; see test_guarded for the rest."""
    for document in (pipeline, *(p["platforms"]["kubernetes"] for p in platform)):
        for outside in ("exec-check-op", "exec-report-outcome-op"):
            document["deploymentSpec"]["executors"].pop(outside, None)
    return {**pipeline, "root": pipeline["components"]["comp-glioflow"]}, platform


def test_the_graph_is_the_pipeline_of_the_paper(compiled: Any) -> None:
    _, pipeline, _ = compiled
    tasks = pipeline["root"]["dag"]["tasks"]
    # Loops are numbered: they go by the name they were given.
    names = {
        key: task["taskInfo"]["name"] if key.startswith("for-loop") else key
        for key, task in tasks.items()
    }
    found = {
        names[key]: {names[other] for other in task.get("dependentTasks", [])}
        for key, task in tasks.items()
    }
    assert found == STEPS


def test_one_evaluation_task_for_each_test_set_there_is(compiled: Any) -> None:
    """Over what training answered for, so that a cohort given at submission has its task, too."""
    _, pipeline, _ = compiled
    (loop,) = [
        task
        for task in pipeline["root"]["dag"]["tasks"].values()
        if task["taskInfo"]["name"] == "test-sets"
    ]
    items = loop["parameterIterator"]["items"]
    assert items == {"inputParameter": "pipelinechannel--train-classifiers-op-Output"}
    outputs = pipeline["components"]["comp-evaluate-set-op"]["outputDefinitions"]["artifacts"]
    shown = {name: one["artifactType"]["schemaTitle"] for name, one in outputs.items()}
    assert shown == {
        "judged": "system.Dataset",
        "report": "system.HTML",
        "metrics": "system.Metrics",
        "roc": "system.ClassificationMetrics",
    }


def test_nothing_is_installed_when_a_step_starts(compiled: Any) -> None:
    _, pipeline, _ = compiled
    executors = pipeline["deploymentSpec"]["executors"]
    assert len(executors) == len(STEPS)
    for executor in executors.values():
        container = executor["container"]
        command = " ".join([*container.get("command", []), *container.get("args", [])])
        assert "pip install" not in command
        assert container["image"].startswith("ghcr.io/glioflow/")
        assert {"resourceCpuLimit", "resourceMemoryLimit"} <= set(container["resources"])


def test_only_paper_training_asks_for_a_gpu(compiled: Any) -> None:
    name, pipeline, platform = compiled
    executors = pipeline["deploymentSpec"]["executors"]
    with_gpu = {
        key.removeprefix("exec-")
        for key, executor in executors.items()
        if "accelerator" in executor["container"]["resources"]
    }
    if name != "paper":
        assert with_gpu == set()
        return
    assert with_gpu == {"train-segmenter-op", "extract-features-op", "train-classifiers-op"}
    placed = _placed(platform)
    assert {key for key, config in placed.items() if config.get("tolerations")} == with_gpu
    assert {key for key, config in placed.items() if config.get("nodeSelector")} == with_gpu
    shared = {key for key, config in placed.items() if config.get("emptyDirMounts")}
    assert shared == with_gpu


def _placed(platform: Any) -> dict[str, Any]:
    """Step -> what kfp-kubernetes adds to its pod."""
    executors = platform[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {key.removeprefix("exec-"): config for key, config in executors.items()}


def test_secrets_come_from_kubernetes_and_checkpoints_outlive_the_pod(compiled: Any) -> None:
    name, pipeline, platform = compiled
    if name != "paper":
        assert not _placed(platform)
        return
    placed = _placed(platform)
    assert len(placed) == len(STEPS)
    for config in placed.values():
        (secret,) = config["secretAsEnv"]
        assert secret["secretName"] == "glioflow-object-store"
        assert secret["optional"] is True
    kept = {key for key, config in placed.items() if config.get("pvcMount")}
    assert kept == {"train-segmenter-op", "train-classifiers-op"}
    for key in kept:
        (mount,) = placed[key]["pvcMount"]
        assert mount["mountPath"] == "/checkpoints"
        container = pipeline["deploymentSpec"]["executors"][f"exec-{key}"]["container"]
        assert {"name": "GLIOFLOW_CHECKPOINTS", "value": "/checkpoints"} in container["env"]
    assert "AWS_SECRET_ACCESS_KEY=" not in str(pipeline)


def test_publishing_is_never_cached_and_the_rest_is(compiled: Any) -> None:
    _, pipeline, _ = compiled
    tasks = pipeline["root"]["dag"]["tasks"]
    cached = {
        n: t["cachingOptions"].get("enableCache", False)
        for n, t in tasks.items()
        if "for-loop" not in n
    }
    assert [name for name, enabled in cached.items() if not enabled] == ["publish-op"]


def test_compiling_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    profile = load_profile("demo")
    for name in ("a.yaml", "b.yaml"):
        cluster.compile_profile(profile, tmp_path / name)
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()


def test_the_server_of_these_tests_speaks_the_apis_schema() -> None:
    for (method, path), answer in ANSWERS.items():
        assert breaches(answer, (LISTS if method == "GET" else BODIES)[path]) == []


@pytest.mark.parametrize(
    "body",
    [
        {"displayname": "misspelt"},
        {"run_id": ["no text"]},
        {"state": "FINISHED"},
        {"runtime_config": {"parameter": {}}},
        {"pipeline_spec": {"pipelineInfo": {"nam": "glioflow"}}},
    ],
    ids=str,
)
def test_what_the_api_would_refuse_is_refused(body: dict[str, Any]) -> None:
    assert len(breaches(body, "V2beta1Run")) == 1


def test_submit_sends_the_pipeline_and_its_cohorts() -> None:
    cohorts = {"development": "s3://bucket/dev.csv", "new": "s3://bucket/new.csv"}
    with kfp_api() as (host, requests):
        client = cluster.connect_to_kubeflow(host)
        answer = cluster.submit(client, load_profile("paper"), cohorts, "http://mlflow", "glioflow")
    assert answer == {"run_id": "run-1"}
    body = next(body for method, path, body in requests if (method, path[-5:]) == ("POST", "/runs"))
    sent = body["runtime_config"]["parameters"]
    assert [c["name"] for c in json.loads(sent["cohorts"])] == ["development", "new"]
    assert sent["tracking_uri"] == "http://mlflow"
    spec = body["pipeline_spec"]
    assert set(spec.get("pipeline_spec", spec)["components"]) >= {"comp-publish-op"}


def test_schedule_makes_one_recurring_run() -> None:
    with kfp_api() as (host, requests):
        client = cluster.connect_to_kubeflow(host)
        answer = cluster.schedule(
            client,
            load_profile("paper"),
            {"development": "s3://b/d.csv"},
            "",
            "glioflow",
            "0 0 2 * * 1",
        )
    assert answer == {"schedule_id": "rec-1"}
    body = next(body for _, path, body in requests if path.endswith("/recurringruns"))
    assert body["trigger"]["cron_schedule"]["cron"] == "0 0 2 * * 1"
    assert body["no_catchup"] is True
    assert int(body["max_concurrency"]) == 1


def test_a_schedule_may_wait_for_drift() -> None:
    cohorts = {"development": "s3://b/d.csv"}
    audits = cluster.Audits("s3://b/reference.jsonl", "s3://b/now.jsonl")
    profile = load_profile("demo")
    with kfp_api() as (host, requests):
        client = cluster.connect_to_kubeflow(host)
        cluster.schedule(client, profile, cohorts, "", "glioflow", "0 0 2 * * 1", drift=audits)
        for wrong in (cluster.Audits("", "s3://b/now.jsonl"), cluster.Audits("s3://b/r", "now")):
            with pytest.raises(BadInput, match="not an S3 address"):
                cluster.schedule(client, profile, cohorts, "", "g", "0 0 2 * * 1", drift=wrong)
    body = next(body for _, path, body in requests if path.endswith("/recurringruns"))
    given = body["runtime_config"]["parameters"]
    assert (given["reference"], given["answers"]) == (audits.reference, audits.answers)


@pytest.mark.parametrize("account", [None, "glioflow-steps"])
def test_the_steps_run_as_the_account_of_the_profile(account: str | None) -> None:
    profile = load_profile("demo")
    placed = profile.cluster.model_copy(update={"service_account": account})
    profile = profile.model_copy(update={"cluster": placed})
    cohorts = {"development": "s3://b/d.csv"}
    with kfp_api() as (host, requests):
        client = cluster.connect_to_kubeflow(host)
        cluster.submit(client, profile, cohorts, "", "glioflow")
        cluster.schedule(client, profile, cohorts, "", "glioflow", "0 0 2 * * 1")
    made = [b for _, path, b in requests if path.endswith(("/runs", "/recurringruns")) and b]
    assert [body.get("service_account") for body in made] == [account, account]


def test_an_api_at_an_ipv6_address_is_asked() -> None:
    with kfp_api(at="::1") as (host, _):
        assert host.startswith("http://[::1]:")
        client = cluster.connect_to_kubeflow(f"{host}/")
        cohorts = {"development": "s3://b/d.csv"}
        done = cluster.submit(client, load_profile("demo"), cohorts, "", "glioflow")
        assert done == {"run_id": cluster.status(client).run_id}


def test_nothing_listening_is_one_line() -> None:
    with pytest.raises(BadInput, match="no KFP API answers"):
        cluster.connect_to_kubeflow("http://127.0.0.1:9")


def test_pods_cannot_read_local_paths() -> None:
    with pytest.raises(BadInput, match="pods cannot read"):
        cluster.arguments(load_profile("paper"), {"development": "dev.csv"}, "")
