"""The first task on Kubeflow: what it refuses, and the digests by which the others are cached."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.core.errors import BadInput
from pipelines.kubeflow import cluster
from pipelines.kubeflow.checked import check_on_cluster
from pipelines.kubeflow.component import check_op
from pipelines.profile import Cluster, Resources, load_profile
from tests.pipelines.kfp_cache import cache_keys
from tests.pipelines.test_check import manifest, tiny

COHORTS = json.dumps([{"name": "development", "manifest": "s3://bucket/cohort.csv", "sha256": ""}])
NEVER_CACHED = {"check-op", "publish-op", "report-outcome-op"}


@pytest.fixture
def cohort(s3: Any, tmp_path: Path) -> Any:
    """The S3 client, with a manifest of which two images are there."""
    s3.upload_file(manifest(tmp_path), "bucket", "cohort.csv")
    for name in ("P000/t1c.nii.gz", "P001/t1c.nii.gz"):
        s3.put_object(Bucket="bucket", Key=name, Body=name.encode())
    return s3


@pytest.fixture
def without_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their export has tests of its own, and takes the longest."""
    monkeypatch.setattr("pipelines.kubeflow.checked.check_networks", lambda profile: None)


def test_the_task_checks_networks_and_tells_digests(cohort: Any) -> None:
    told = check_op.python_func(profile=tiny().model_dump_json(), cohorts=COHORTS)
    (entry,) = json.loads(told)
    assert entry["name"] == "development"
    assert entry["manifest"] == "s3://bucket/cohort.csv"
    assert len(entry["sha256"]) == len(entry["images"]) == 64


def test_phantoms_need_no_digest(without_networks: None) -> None:
    assert check_on_cluster(load_profile("demo"), "[]") == "[]"


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"classify": {"min_patients": 40}}, "cohort development"),
        ({"preprocess": {"grid": 30}}, "preprocess.grid = 30"),
        ({"segment": {"device": "cuda"}}, "segment.device = cuda"),
    ],
)
def test_late_mistakes_are_refused_by_the_first_task(
    cohort: Any, changes: dict[str, Any], subject: str
) -> None:
    with pytest.raises(BadInput) as refused:
        check_on_cluster(tiny(**changes), COHORTS)
    assert refused.value.subject == subject


def test_a_volume_that_training_cannot_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_networks: None
) -> None:
    """pipelines#3866. A folder that is missing refuses every user, root too."""
    monkeypatch.setenv("GLIOFLOW_CHECKPOINTS", str(tmp_path))
    assert check_on_cluster(load_profile("demo"), "[]") == "[]"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("GLIOFLOW_CHECKPOINTS", str(tmp_path / "none"))
    with pytest.raises(BadInput) as refused:
        check_on_cluster(load_profile("demo"), "[]")
    assert refused.value.subject == f"cluster.checkpoints, mounted at {tmp_path / 'none'}"


@pytest.mark.parametrize("name", ["demo", "lgg", "paper", "study"])
def test_the_pods_of_shipped_profiles_have_the_memory(name: str, without_networks: None) -> None:
    phantoms = load_profile("study").cohort
    assert check_on_cluster(load_profile(name).model_copy(update={"cohort": phantoms}), "[]")


def test_a_pod_that_memory_would_end_is_refused(cohort: Any, without_networks: None) -> None:
    small = Cluster(steps={"preprocess": Resources(memory="1Gi")})
    with pytest.raises(BadInput) as refused:
        check_on_cluster(tiny().model_copy(update={"cluster": small}), COHORTS)
    assert refused.value.subject == "cluster.steps.preprocess, memory = 1Gi"


def test_a_gpu_is_wanted_of_the_pod_and_not_of_the_check(
    cohort: Any, without_networks: None
) -> None:
    placed = Cluster(steps={"segment": Resources(gpus=1)})
    profile = tiny(segment={"device": "cuda"}).model_copy(update={"cluster": placed})
    assert check_on_cluster(profile, COHORTS)


def test_settings_that_cannot_go_together_are_not_submitted() -> None:
    with pytest.raises(BadInput) as refused:
        cluster.arguments(tiny(classify={"device": "cuda"}), {}, "")
    assert refused.value.subject == "classify.device = cuda"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    cluster.compile_profile(tiny(), out)
    return next(yaml.safe_load_all(out.read_text()))


@pytest.fixture
def keys_of(
    compiled: dict[str, Any], cohort: Any, without_networks: None
) -> Callable[..., dict[str, str]]:
    """Cache keys of a run that is submitted now."""

    def keys(run: str, **changes: str) -> dict[str, str]:
        given = {"cohorts": COHORTS, "code_version": "1", "run_info": "{}", "tracking_uri": ""}
        told = {"check-op": check_on_cluster(tiny(), COHORTS)}
        return cache_keys(compiled, run, {**given, **changes}, told)

    return keys


def test_what_did_not_change_is_reused_by_a_later_run(
    keys_of: Callable[..., dict[str, str]],
) -> None:
    first, second = keys_of("run-1"), keys_of("run-2")
    assert {task for task in first if first[task] != second[task]} == NEVER_CACHED
    assert len(first) >= 12


def test_a_changed_image_under_the_same_manifest_runs_every_step_again(
    keys_of: Callable[..., dict[str, str]], cohort: Any
) -> None:
    first = keys_of("run-1")
    cohort.put_object(Bucket="bucket", Key="P001/t1c.nii.gz", Body=b"another scan")
    second = keys_of("run-1")
    assert {task for task in first if first[task] == second[task]} == NEVER_CACHED - {"publish-op"}


def test_changed_code_runs_every_step_again(keys_of: Callable[..., dict[str, str]]) -> None:
    first, second = keys_of("run-1"), keys_of("run-1", code_version="2")
    assert {task for task in first if first[task] == second[task]} == NEVER_CACHED - {"publish-op"}
