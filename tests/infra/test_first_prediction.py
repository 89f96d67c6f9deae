"""The newcomer's page: every command checked, and all that needs no cluster run as it stands.

In the place of the cluster stand servers on this machine: KFP's API, MLflow with the arguments of
its Deployment, S3, and Triton by the commands of its pod. A local run does what KFP's pods do.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.page import commands, without_shell
from tests.pipelines.kfp_api import kfp_api
from tests.registry.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "first-prediction.md"
COMMANDS = commands(PAGE)
KUBECTL = [shlex.split(without_shell(c))[1:] for c in COMMANDS if c.startswith("kubectl ")]
IN_CLUSTER = re.compile(r"//(?:[^/@]*@)?([\w-]+)(?:\.glioflow\.svc\.cluster\.local)?:(\d+)")
START_S = 180


@cache
def _rendered() -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is needed to render overlays")
    (folder,) = [line[-1] for line in KUBECTL if "-k" in line]
    command = ["kubectl", "kustomize", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def _named(kind: str, name: str) -> dict[str, Any]:
    found = [d for d in _rendered() if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    assert found, f"the overlay has no {kind} {name}"
    return found[0]


@pytest.mark.parametrize("line", KUBECTL, ids=lambda line: " ".join(line)[:60])
def test_what_kubectl_is_told_to_find_is_there(line: list[str]) -> None:
    if line[0] == "apply":
        assert (ROOT / line[-1]).exists()
        return
    assert line[0] == "-n"
    namespace, verb, *rest = line[1:]
    if namespace == "kubeflow":
        assert (verb, rest) == ("port-forward", ["service/ml-pipeline", "8888"])
        return
    assert namespace == "glioflow"
    for target in (word for word in rest if word.startswith(("deployment/", "service/"))):
        kind, name = target.split("/")
        found = _named(kind.capitalize(), name)
        if verb == "port-forward":
            assert int(rest[-1]) in {port["port"] for port in found["spec"]["ports"]}


def test_addresses_inside_the_cluster_are_services() -> None:
    places = {m.groups() for c in COMMANDS for m in IN_CLUSTER.finditer(c)} - {("localhost", "")}
    inside = {(name, int(port)) for name, port in places if name != "localhost"}
    assert {name for name, _ in inside} == {"mlflow", "object-store", "postgres"}
    for name, port in inside:
        assert port in {p["port"] for p in _named("Service", name)["spec"]["ports"]}


def test_the_secrets_hold_what_the_pods_read(tmp_path: Path) -> None:
    wanted: dict[str, set[str]] = {}
    for reference in _references(_rendered()):
        wanted.setdefault(reference["name"], set()).add(reference["key"])
    script = []
    for number, line in enumerate(COMMANDS):
        if " create secret " in line:
            script.append(f"{line} --dry-run=client -o json > secret-{number}.json")
        elif line.startswith(("printf ", "PASSWORD=")):
            script.append(line)
    subprocess.run(["bash", "-euc", "\n".join(script)], cwd=tmp_path, check=True)
    secrets = [json.loads(f.read_text()) for f in tmp_path.glob("secret-*.json")]
    found = {s["metadata"]["name"]: set(s["data"]) for s in secrets}
    assert set(found) == set(wanted)
    for name, keys in wanted.items():
        assert keys <= found[name]


def _references(node: Any) -> Iterator[dict[str, str]]:
    if isinstance(node, dict):
        if "secretKeyRef" in node:
            yield node["secretKeyRef"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_the_images_named_on_the_page_reach_every_pod(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    shutil.copytree(ROOT / "infra" / "kubernetes", tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes" / "overlays" / "dev"
    with (overlay / "kustomization.yaml").open("a") as stream:
        stream.write(block)
    command = ["kubectl", "kustomize", str(overlay)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "registry.example.org/glioflow/glioflow-triton:0.1.0" in text
    assert "ghcr.io/glioflow" not in text


def test_steps_run_from_the_images_that_were_exported() -> None:
    exported = {m for c in COMMANDS for m in re.findall(r"(GLIOFLOW_IMAGE_\w+)=", c)}
    source = (ROOT / "components" / "core" / "kfp.py").read_text()
    assert exported == set(re.findall(r'"(GLIOFLOW_IMAGE_\w+)"', source))


class Walk:
    """The reader: a folder, an environment that grows, and local stand-ins for the forwards."""

    def __init__(self, folder: Path, forwards: dict[str, str]) -> None:
        self.folder, self.forwards = folder, forwards
        self.environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}

    def translated(self, line: str) -> str:
        """A line with `localhost:PORT` as it is forwarded here."""
        for told, here in self.forwards.items():
            line = line.replace(told, here)
        return line

    def run(self, line: str) -> str:
        """Run one line in bash, as the reader's one shell: variables stay."""
        script = f"set -aeu\n{self.translated(line)}\nenv -0 > .environment"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        pairs = (self.folder / ".environment").read_text().split("\0")
        self.environment = dict(pair.split("=", 1) for pair in pairs if pair)
        return done.stdout


@contextmanager
def _background(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, start_new_session=True, **options
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(60)


def _status(port: int, host: str) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1",
        headers={"Host": host},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _await(process: subprocess.Popen[bytes], log: Path, ready: Any) -> None:
    deadline = time.monotonic() + START_S
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.5)


@contextmanager
def _mlflow(walk: Walk, port: int) -> Iterator[None]:
    """MLflow by the command, arguments and variables of its Deployment, but for port and store."""
    (container,) = _named("Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    arguments = [
        a.replace(":5000", f":{port}").replace("=5000", f"={port}") for a in container["args"]
    ]
    secrets = dict(
        line.split("=", 1) for line in (walk.folder / "mlflow.env").read_text().splitlines()
    )
    environment = {
        **walk.environment,
        **dict(pair.split("=", 1) for pair in _object_store(walk)),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{walk.folder}/mlflow.db",
        "MLFLOW_ARTIFACTS_DESTINATION": secrets["artifacts"],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    log = walk.folder / "mlflow.log"
    command = [*container["command"], *arguments, "--workers=1"]
    with _background(command, log, env=environment, cwd=walk.folder) as process:
        _await(process, log, lambda: _status(port, f"localhost:{port}") == 200)
        assert _status(port, f"mlflow.glioflow.svc.cluster.local:{port}") == 200
        assert _status(port, "elsewhere.example.org") == 403
        yield


def _object_store(walk: Walk) -> list[str]:
    lines = (walk.folder / "object-store.env").read_text().splitlines()
    told = "http://object-store.glioflow.svc.cluster.local:9000"
    return [line.replace(told, f"http://{walk.forwards['localhost:9000']}") for line in lines]


@contextmanager
def _triton(walk: Walk, port: int) -> Iterator[None]:
    """The pod: the first container brings the release, then the server answers."""
    spec = _named("Deployment", "triton")["spec"]["template"]["spec"]
    releases = _named("ConfigMap", "glioflow-serving")["data"]["releases"]
    store = str(walk.folder / "store")

    def here(command: list[str]) -> list[str]:
        told = {"$(GLIOFLOW_RELEASES)": releases, "/store": store, "0.0.0.0": "127.0.0.1"}
        return [told.get(word, word) for word in command]

    walk.run(shlex.join(here(spec["initContainers"][0]["command"])))
    ports = [f"--grpc-port={port}", f"--http-port={free_port()}", f"--metrics-port={free_port()}"]
    log = walk.folder / "triton.log"
    (server,) = [c for c in spec["containers"] if c["name"] == "triton"]
    probe = [
        w.replace("localhost:8001", f"localhost:{port}")
        for w in server["readinessProbe"]["exec"]["command"]
    ]
    options = {"env": walk.environment, "cwd": walk.folder}
    with _background([*here(server["command"]), *ports], log, **options) as process:
        _await(
            process,
            log,
            lambda: subprocess.run(probe, capture_output=True, **options).returncode == 0,
        )
        yield


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_page_leads_to_a_prediction(moto: tuple[str, int], tmp_path: Path) -> None:
    mlflow, triton = free_port(), free_port()
    with kfp_api() as (kfp, requests), ExitStack() as stack:
        forwards = {
            "localhost:8888": kfp.removeprefix("http://"),
            "localhost:5000": f"localhost:{mlflow}",
            "localhost:9000": "{}:{}".format(*moto),
            "localhost:8001": f"localhost:{triton}",
        }
        walk = Walk(tmp_path, forwards)
        for line in COMMANDS:
            if line.startswith(("printf ", "PASSWORD=", "export ", "glioflow status")):
                if line.startswith("glioflow status"):
                    line += " || true"  # the API here tells of a run that failed
                walk.run(line)
            elif " exec deployment/mlflow " in line:
                stack.enter_context(_mlflow(walk, mlflow))
                inner = line.partition(" -- ")[2]
                walk.run(f"env {shlex.join(_object_store(walk))} {inner}")
            elif line.startswith("glioflow submit "):
                walk.run(line)
                told = line.partition("--tracking-uri ")[2]
                (run,) = [b for m, p, b in requests if (m, p[-5:]) == ("POST", "/runs")]
                assert run["runtime_config"]["parameters"]["tracking_uri"] == told
                walk.run(
                    f"glioflow run --profile {ROOT}/tests/tiny.yaml --out run "
                    "--tracking-uri http://localhost:5000"
                )
            elif "rollout status deployment/triton" in line:
                stack.enter_context(_triton(walk, triton))
            elif line.startswith("glioflow "):
                walk.run(line)
    answer = json.loads((tmp_path / "answer" / "prediction.json").read_text())
    assert answer["status"] in ("ok", "no_tumor", "abstain")
    assert answer["trained_on"] == "phantoms"
    assert (tmp_path / "answer" / "prediction.png").is_file()
