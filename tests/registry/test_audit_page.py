"""The auditor's page: what it says to do with public tools alone is done, on a signed run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from components.core.files import read_json
from components.registry.publish import publish_run
from components.registry.settings import PublishSettings
from tests.infra.page import commands
from tests.registry.fabricated_run import fabricate

PAGE = Path(__file__).resolve().parents[2] / "docs" / "audit.md"
SERVER = "http://mlflow:5000"
PUBLIC = ("openssl ", "export ", "mlflow ", "RUN=", "cp ", "model_signing ", "python ", "grep ")
SIGNING = "export GLIOFLOW_SIGNING_KEY="


def _script() -> list[str]:
    """The page's commands from the first `openssl` on."""
    lines = [line for line in commands(PAGE) if not line.startswith(("mlflow ui", "glioflow "))]
    assert all(line.startswith(PUBLIC) for line in lines), lines
    return lines


def _bash(lines: list[str], folder: Path, uri: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # Our program must not be importable: a stranger has not got it.
    environment = {**os.environ, "PATH": path, "PYTHONPATH": ""}
    script = "\n".join(["set -euo pipefail", *lines]).replace(SERVER, uri)
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_a_stranger_walks_from_a_served_file_to_the_manifest(
    empty: PublishSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, lines = tmp_path / "stranger", _script()
    folder.mkdir()
    (walk,) = re.findall(r"`walk.py`:\n\n```python\n(.*?)```", PAGE.read_text(), re.S)
    (folder / "walk.py").write_text(walk)
    start = lines.index(next(line for line in lines if line.startswith(SIGNING))) + 1
    made = _bash(lines[:start], folder, empty.tracking_uri)
    assert made.returncode == 0, made.stderr
    monkeypatch.setenv("GLIOFLOW_SIGNING_KEY", str(folder / "signing.pem"))
    run = fabricate(tmp_path / "run")
    publish_run(run, empty)
    done = _bash(lines[start:], folder, empty.tracking_uri)
    assert done.returncode == 0, done.stderr
    assert "Verification succeeded" in done.stdout
    manifest = read_json(run.validated / "validation.json")["manifest_sha256"]
    assert f"from outside: manifest {manifest}" in (folder / "walk.txt").read_text()

    card = folder / "model" / "artifacts" / "files" / "repository" / "documents" / "model_card.md"
    card.write_text(card.read_text().replace("Research", "Clinical"))
    verify = [line for line in lines if line.startswith("model_signing ")]
    assert _bash(verify, folder, empty.tracking_uri).returncode != 0
    statement = folder / "run" / "attestations" / "segment.intoto.json"
    statement.write_text(statement.read_text().replace('"payload": "ew', '"payload": "eX'))
    walked = [line for line in lines if line.startswith("python ")]
    assert _bash(walked, folder, empty.tracking_uri).returncode != 0
