"""The auditor's page: what it says to do with public tools alone is done, on a signed run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from components.core.files import read_json
from components.registry.approval.approvers import approve, list_approvers
from components.registry.promote import promote
from components.registry.publish import publish_run
from components.registry.settings import PublishSettings
from components.registry.witness.witness import keep_witness
from tests.infra.page import commands
from tests.registry.authority import time_stamp_authority
from tests.registry.fabricated_run import fabricate
from tests.registry.ssh import needs_ssh_keygen, new_key

PAGE = Path(__file__).resolve().parents[2] / "docs" / "audit.md"
SERVER = "http://mlflow:5000"
PUBLIC = (
    *("openssl ", "export ", "mlflow ", "RUN=", "cp ", "model_signing ", "python ", "grep "),
    *("ssh-keygen ", "NAMESPACE=", "for T in "),
)
APPROVALS = "## Approvals and time-stamps"
SIGNING = "export GLIOFLOW_SIGNING_KEY="


def _script(folder: Path, section: str = "") -> list[str]:
    """The public commands of one section, or of all that stands before `APPROVALS`."""
    before, _, after = PAGE.read_text().partition(f"\n{APPROVALS}\n")
    page = folder / "page.md"
    page.write_text(after.partition("\n## ")[0] if section else before)
    lines = [line for line in commands(page) if not line.startswith(("mlflow ui", "glioflow "))]
    assert lines and all(line.startswith(PUBLIC) for line in lines), lines
    return lines


def _python(name: str) -> str:
    """The page's program of a name."""
    (text,) = re.findall(rf"`{name}`:\n\n```python\n(.*?)```", PAGE.read_text(), re.S)
    return str(text)


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
    folder, lines = tmp_path / "stranger", _script(tmp_path)
    folder.mkdir()
    (folder / "walk.py").write_text(_python("walk.py"))
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


@needs_ssh_keygen
def test_a_stranger_verifies_approvals_and_time_stamps(
    empty: PublishSettings, tmp_path: Path
) -> None:
    folder, lines = tmp_path / "stranger", _script(tmp_path, APPROVALS)
    folder.mkdir()
    (folder / "entries.py").write_text(_python("entries.py"))
    publish_run(fabricate(tmp_path / "run"), empty)
    key, uri = new_key(tmp_path, "alice@hospital"), empty.tracking_uri
    public = (tmp_path / "alice@hospital.pub").read_text()
    file = tmp_path / "approvers.yaml"
    file.write_text(f'allowed_signers: |\n  alice@hospital namespaces="glioflow:*" {public}')
    list_approvers(file, uri)
    given = approve("glioma-idh/1", uri, "alice@hospital: read the report", key)
    promote("glioma-idh/1", uri, approvals=[given])
    with time_stamp_authority(tmp_path / "authority") as authority:
        keep_witness(folder / "witness", uri, authority.url, authority.root)
    done = _bash(lines, folder, uri)
    assert done.returncode == 0, done.stderr
    assert 'Good "glioflow:glioma-idh@champion" signature for alice@hospital' in done.stdout
    assert "Verification: OK" in done.stdout + done.stderr

    (token,) = (folder / "witness").glob("*.tsr")
    entry = folder / "ledger" / "entries" / f"{token.stem}.json"
    for tool, altered in (("ssh-keygen", folder / "approval-1.json"), ("for T", entry)):
        altered.write_text(altered.read_text().replace("read the report", "asked nobody"))
        again = [line for line in lines if line.startswith((tool, "NAMESPACE="))]
        assert _bash(again, folder, uri).returncode != 0, tool
