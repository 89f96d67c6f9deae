"""Each step as a component file, for other teams' pipelines.

KFP reads the annotations of a pipeline as objects, so they are not postponed here.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, components, dsl

from pipelines import cli
from pipelines.kubeflow import cluster
from pipelines.pipeline import build
from pipelines.profile import load_profile


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("components")
    cluster.compile_components(folder)
    return folder


def test_the_files_are_the_steps_of_the_pipeline(written: Path, tmp_path: Path) -> None:
    compiler.Compiler().compile(build(load_profile("demo")), str(tmp_path / "demo.yaml"))
    graph = yaml.safe_load((tmp_path / "demo.yaml").read_text())
    alone: dict[str, Any] = {}
    for file in written.glob("*.yaml"):
        spec = yaml.safe_load(file.read_text())
        alone |= spec["deploymentSpec"]["executors"]
        (component,) = spec["components"].values()
        (same,) = [
            other
            for other in graph["components"].values()
            if other.get("executorLabel") == component["executorLabel"]
        ]
        assert same == component
    inside = graph["deploymentSpec"]["executors"]
    assert set(alone) == set(inside)
    for name, executor in alone.items():
        parts = ("image", "command", "args")
        assert [executor["container"][p] for p in parts] == [
            inside[name]["container"][p] for p in parts
        ]


def test_another_pipeline_is_composed_of_them(written: Path, tmp_path: Path) -> None:
    loaded = {
        file.stem: components.load_component_from_file(str(file)) for file in written.iterdir()
    }
    for step in loaded.values():
        assert step.description

    @dsl.pipeline(name="of-another-team")
    def mine(manifest: str = "[]") -> None:
        made = loaded["make-cohorts"](settings="{}", cohorts=manifest, code_version="1")
        same = {"settings": "{}", "code_version": "1", "cohorts": made.outputs["cohorts_out"]}
        with dsl.ParallelFor(["0/2", "1/2"]) as shard:
            measured = loaded["measure-images"](shard=shard, **same)
        loaded["validate"](facts=dsl.Collected(measured.outputs["facts"]), **same)

    compiler.Compiler().compile(mine, str(tmp_path / "mine.yaml"))
    spec = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    tasks = spec["root"]["dag"]["tasks"]
    (loop,) = (name for name in tasks if name.startswith("for-loop"))
    assert sorted(tasks["validate-op"]["dependentTasks"]) == [loop, "make-cohorts-op"]
    assert "pip install" not in str(spec["deploymentSpec"])


def test_a_file_in_the_place_of_the_folder_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = ["compile", "--profile", "demo", "--out", str(tmp_path / "p.yaml")]
    assert cli.run([*line, "--components", str(tmp_path / "file")]) == 2
    assert not (tmp_path / "p.yaml").exists()
