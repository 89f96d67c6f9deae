"""`glioflow gateway`: what it says of studies, and of what is wrong with its settings."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import yaml

from pipelines.cli import run
from serving.pacs.gateway.service import gateway
from serving.pacs.gateway.settings import read_settings
from serving.pacs.gateway.state import GatewayState, Phase
from tests.conftest import ROOT
from tests.registry.servers import free_port


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    content = {
        "folder": str(tmp_path / "gateway"),
        "listen": {
            "host": "127.0.0.1",
            "port": free_port(),
            "callers": [{"ae_title": "A", "addresses": ["127.0.0.1"]}],
        },
        "send": {"ae_title": "B", "host": "localhost", "port": 104},
        "metrics_port": 0,
    }
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_status_lists_studies_and_reasons_and_names_them_when_asked(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gateway").mkdir()
    state = GatewayState(tmp_path / "gateway" / "gateway.sqlite")
    state.arrived("0123", "1.2.3", 0.0)
    state.end(state.studies()[0], Phase.REFUSED, "study: no age")
    state.close()
    assert run(["gateway", "status", "--settings", str(settings), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"]["refused"] == 1
    assert told["studies"] == [
        {"key": "0123", "phase": "refused", "status": "", "attempts": 0, "reason": "study: no age"}
    ]
    assert run(["gateway", "status", "--settings", str(settings), "--identify"]) == 0
    assert "1.2.3" in capsys.readouterr().err


def test_status_of_no_gateway_is_one_line(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["gateway", "status", "--settings", str(settings)]) == 2
    assert "no gateway has worked there" in capsys.readouterr().err


def test_a_second_gateway_on_one_folder_is_refused_in_one_line(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with gateway(read_settings(settings)):
        assert run(["gateway", "run", "--settings", str(settings)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "another gateway works there" in line


def test_a_port_that_is_taken_is_refused_in_one_line(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = settings.with_name("other.yaml")
    content = yaml.safe_load(settings.read_text())
    other.write_text(yaml.safe_dump({**content, "folder": str(settings.parent / "other")}))
    with gateway(read_settings(settings)):
        assert run(["gateway", "run", "--settings", str(other)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("glioflow: listen: Address already in use")


def test_a_missing_certificate_is_refused_in_one_line(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(settings.read_text())
    content["listen"]["tls"] = {"certificate": "/none.crt", "key": "/none.key"}
    settings.write_text(yaml.safe_dump(content))
    assert run(["gateway", "run", "--settings", str(settings)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "listen: No such file" in line


def test_it_tells_prometheus_and_ends_well_when_it_is_stopped(settings: Path) -> None:
    content = yaml.safe_load(settings.read_text())
    content["metrics_port"] = port = free_port()
    settings.write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "pipelines.cli", "gateway", "run", "--settings", str(settings)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert "GLIOFLOW on port" in process.stderr.readline()
        told = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
        assert 'glioflow_gateway_studies{phase="done"} 0.0' in told
        assert "glioflow_gateway_images_received_total 0.0" in told
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
