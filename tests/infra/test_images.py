"""Every step inside its image, run as Kubeflow's pods run it, against the same steps outside.

`make images` builds the images; these tests run them with buildah, which needs root. Each
component's own executor command runs, as the image's user, on the smallest run there is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.core.files import sha256_file, sha256_tree
from pipelines import local
from pipelines.profile import load_profile
from pipelines.version import ROOT, code_digest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TINY = Path(__file__).parents[1] / "tiny.yaml"
VERSION = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M).group(1)  # type: ignore[union-attr]
REGISTRY = os.environ.get("REGISTRY", "ghcr.io/glioflow")
TARGETS = ("cpu", "gpu", "triton", "triton-gpu")
USER = 10001


def _buildah(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = ["buildah", *map(str, arguments)]
    return subprocess.run(command, text=True, capture_output=True, **options)


def _name(target: str) -> str:
    return f"{REGISTRY}/glioflow-{target}:{VERSION}"


def _need_buildah() -> None:
    if shutil.which("buildah") is None or os.geteuid() != 0:
        pytest.skip("buildah and root are needed to run images: apt-get install buildah")


def _inspect(target: str) -> dict[str, Any]:
    _need_buildah()
    done = _buildah("inspect", "--type", "image", _name(target))
    if done.returncode:
        pytest.skip(f"no image {_name(target)}: run `make images` first")
    return json.loads(done.stdout)


class Container:
    """A container of an image, in which commands run as the image's user."""

    def __init__(self, target: str) -> None:
        _inspect(target)
        self.id = _buildah("from", _name(target), check=True).stdout.strip()

    def command(self, *command: str, mounts: tuple[str, ...] = (), **env: str) -> list[str]:
        """What runs `command` in it; mounts as HOST:INSIDE[:ro]."""
        options = [f"--volume={mount}" for mount in mounts]
        options += [f"--env={name}={value}" for name, value in env.items()]
        return ["buildah", "run", "--isolation", "chroot", *options, self.id, "--", *command]

    def run(self, *command: str, **options: Any) -> str:
        """Standard output of a command that succeeds."""
        done = subprocess.run(self.command(*command, **options), text=True, capture_output=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def remove(self) -> None:
        """Delete the container; the image stays."""
        _buildah("rm", self.id)


@pytest.fixture(scope="module")
def containers() -> Iterator[dict[str, Container]]:
    _need_buildah()
    made: dict[str, Container] = {}
    try:
        for target in TARGETS:
            if _buildah("inspect", "--type", "image", _name(target)).returncode == 0:
                made[target] = Container(target)
        if "cpu" not in made:
            pytest.skip(f"no image {_name('cpu')}: run `make images` first")
        yield made
    finally:
        for container in made.values():
            container.remove()


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_lean_labelled_and_not_root(target: str) -> None:
    config = _inspect(target)["OCIv1"]["config"]
    assert config["User"] == f"{USER}:{USER}"
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == f"glioflow-{target}"
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["org.opencontainers.image.revision"])
    assert "Healthcheck" in _inspect(target)["Docker"]["config"] or target != "triton"
    container = Container(target)
    try:
        tools = "cc gcc g++ make pip pip3 git"
        found = container.run("sh", "-c", f"for t in {tools}; do command -v $t; done; true")
        assert found.split() == []
        assert container.run("id", "-u").strip() == str(USER)
        assert "predict" in container.run("glioflow", "--help")
        writable = "find / -xdev -writable -type f -not -path '/tmp/*' -not -path '/proc/*' "
        assert container.run("sh", "-c", f"{writable} -not -path '/sys/*' 2>/dev/null; true") == ""
    finally:
        container.remove()


def test_the_code_inside_is_the_code_outside(containers: dict[str, Container]) -> None:
    ask = "from pipelines.version import code_digest; print(code_digest())"
    for target, container in containers.items():
        assert container.run("python3", "-c", ask).strip() == code_digest(), (
            f"{target} was built from other code: run `make images` again"
        )


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("outside") / "run"
    local.run(load_profile(str(TINY)), {}, out)
    return out


@pytest.fixture(scope="module")
def inside(
    containers: dict[str, Container], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Path]]:
    """Output name -> path of a run whose every step ran in its image; steps are counted."""
    import kfp.local
    from kfp.local.status import Status
    from kfp.local.subprocess_task_handler import SubprocessTaskHandler

    from pipelines.pipeline import build

    root = tmp_path_factory.mktemp("inside")
    log = (root / "run.log").open("w")

    def run_in_image(task: SubprocessTaskHandler) -> Status:
        wanted = "gpu" if "glioflow-gpu" in task.image else "cpu"
        container = containers.get(wanted, containers["cpu"])
        command = container.command(*task.full_command, mounts=(f"{root}:{root}",), **task.env_vars)
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, text=True)
        return Status.SUCCESS if done.returncode == 0 else Status.FAILURE

    patch = pytest.MonkeyPatch()
    # What KFP makes outside must be writable to the image's user inside, as in a pod's volume.
    before = os.umask(0)
    root.chmod(0o777)
    patch.setattr(SubprocessTaskHandler, "run", run_in_image)
    try:
        kfp.local.init(
            runner=kfp.local.SubprocessRunner(use_venv=False), pipeline_root=str(root / "kfp")
        )
        (root / "kfp").mkdir(exist_ok=True)
        done = build(load_profile(str(TINY)))(
            code_version=code_digest(),
            run_info=json.dumps({"code": {}, "profile": "tiny", "approve": None}),
            tracking_uri=f"sqlite:///{root}/kfp/mlflow.db",
        )
        yield {name: Path(artifact.path) for name, artifact in done.outputs.items()}
    except Exception:
        log.flush()
        pytest.fail((root / "run.log").read_text()[-4000:])
    finally:
        os.umask(before)
        patch.undo()
        log.close()


def test_every_step_ran_as_the_images_user(inside: dict[str, Path]) -> None:
    assert {path.stat().st_uid for path in inside.values()} == {USER}


@pytest.mark.parametrize("folder", ["segmenter", "samples", "classifier"])
def test_what_is_learnt_inside_is_what_is_learnt_outside(
    folder: str, inside: dict[str, Path], outside: Path
) -> None:
    """Weights, samples and models, byte for byte; only notes on the machine may differ."""
    here, there = sha256_tree(outside / folder), sha256_tree(inside[folder])
    timed = {name for name in here if name.endswith(("curves.csv", "journal.json", "timing.json"))}
    compared = set(here) - timed
    assert any(name.endswith((".safetensors", ".npy")) for name in compared)
    assert {n: there.get(n) for n in compared} == {n: here[n] for n in compared}


def test_predictions_figures_and_release_are_the_same(
    inside: dict[str, Path], outside: Path
) -> None:
    assert sha256_file(inside["predictions"]) == sha256_file(outside / "predictions")
    sets = [
        json.loads((folder / "evaluation.json").read_text())["sets"]
        for folder in (inside["evaluation"], outside / "evaluation")
    ]
    assert sets[0] == sets[1]
    releases = [
        json.loads((folder / "release.json").read_text())["release"]
        for folder in (inside["repository"], outside / "repository")
    ]
    assert releases[0] == releases[1]


def test_the_triton_image_serves_the_release(
    containers: dict[str, Container], inside: dict[str, Path], tmp_path: Path
) -> None:
    if "triton" not in containers:
        pytest.skip(f"no image {_name('triton')}: run `make images` first")
    ports = ("--grpc-port", "28001", "--http-port", "28000", "--metrics-port", "28002")
    command = containers["triton"].command(
        "glioflow",
        "serve",
        "--repository",
        "/models",
        *ports,
        mounts=(f"{inside['repository']}:/models:ro",),
    )
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            ready = containers["triton"].command("glioflow", "ready", "--server", "localhost:28001")
            deadline = time.monotonic() + 180
            while subprocess.run(ready, capture_output=True).returncode != 0:
                assert server.poll() is None, (tmp_path / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-2000:]
                time.sleep(3)
        finally:
            os.killpg(server.pid, 15)
            server.wait(60)


def test_the_triton_image_runs_the_check(containers: dict[str, Container]) -> None:
    """Networks are exported and served there, as Kubeflow's first task does."""
    if "triton" not in containers:
        pytest.skip(f"no image {_name('triton')}: run `make images` first")
    code = (
        "from pipelines.kubeflow.checked import check_on_cluster; "
        "from pipelines.profile import load_profile; "
        "print(check_on_cluster(load_profile('demo'), '[]'))"
    )
    assert containers["triton"].run("python3", "-c", code).splitlines()[-1] == "[]"
