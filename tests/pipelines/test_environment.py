"""What a cluster's secret and certificates become in the compiled steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from pipelines.kubeflow import cluster
from pipelines.kubeflow.environment import CA_FILE, CA_FOLDER, CA_VARIABLES, secret_environment
from pipelines.profile import Cluster, load_profile


def test_kfps_launcher_finds_none_of_the_object_stores_settings() -> None:
    """It runs in the step's container, and reads AWS_ variables for its own pipeline root."""
    variables = secret_environment(["AWS_WEB_IDENTITY_TOKEN_FILE"])
    assert variables["AWS_SESSION_TOKEN"] == "GLIOFLOW_AWS_SESSION_TOKEN"
    assert not [name for name in variables.values() if name.startswith("AWS_")]


def test_a_key_of_no_known_beginning_is_refused() -> None:
    assert Cluster(secret_keys=("MLFLOW_X",)).secret_keys == ("MLFLOW_X",)
    with pytest.raises(ValidationError):
        Cluster(secret_keys=("LD_PRELOAD",))


def test_every_step_is_given_the_keys_and_the_certificates(tmp_path: Path) -> None:
    profile = load_profile("demo")
    placed = Cluster(secret="s", secret_keys=("SSL_X",), ca="authorities", shards=1)
    out = tmp_path / "pipeline.yaml"
    cluster.compile_profile(profile.model_copy(update={"cluster": placed}), out)
    pipeline, platform = yaml.safe_load_all(out.read_text())
    configs = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    executors = pipeline["deploymentSpec"]["executors"]
    assert set(configs) == set(executors)
    for name, executor in executors.items():
        (secret,) = configs[name]["secretAsEnv"]
        given = {pair["secretKey"]: pair["envVar"] for pair in secret["keyToEnv"]}
        assert given == secret_environment(["SSL_X"])
        (volume,) = configs[name]["configMapAsVolume"]
        assert (volume["configMapName"], volume["mountPath"]) == ("authorities", CA_FOLDER)
        environment = {v["name"]: v["value"] for v in executor["container"]["env"]}
        assert {key: environment[key] for key in CA_VARIABLES} == dict.fromkeys(
            CA_VARIABLES, CA_FILE
        )
