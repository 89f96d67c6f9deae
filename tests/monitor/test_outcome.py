"""The exit handler's step: what it writes, what it tells, and that it never fails a run."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.monitor.component import report_outcome_op
from components.monitor.outcome import (
    WEBHOOK,
    FailedStep,
    Outcome,
    ended,
    failed_steps,
    tell,
    write,
)
from tests.pipelines.kfp_api import ANSWERS, kfp_api

STEP = FailedStep("train-segmenter-op", "FAILED", "CUDA out of memory | see the log", "pod-3")
ENDED = Outcome("run-1", "glioflow-paper-7", "paper", "FAILED", "task failed", (STEP,))


@contextmanager
def _hook(answer: int) -> Iterator[tuple[str, list[bytes]]]:
    taken: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(answer)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/secret-path", taken
    finally:
        server.shutdown()
        server.server_close()


def test_the_step_names_what_failed_and_tells_the_webhook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = SimpleNamespace(path=str(tmp_path / "out" / "outcome"), metadata={})
    status = SimpleNamespace(state="FAILED", error_message="task failed")
    with kfp_api() as (api, _), _hook(200) as (url, taken):
        monkeypatch.setenv(WEBHOOK, url)
        report_outcome_op.python_func("run-1", "glioflow-paper-7", "paper", api, status, page)
    assert json.loads(taken[0])["text"] == (
        "glioflow paper: glioflow-paper-7 failed in train-segmenter-op (run run-1)"
    )
    written = json.loads((tmp_path / "out" / "outcome.json").read_text())
    assert written == page.metadata
    assert written["failed"] == [
        {
            "step": "train-segmenter-op",
            "state": "FAILED",
            "message": "CUDA out of memory | see the log",
            "pod": "pod-3",
        }
    ]


def test_a_table_cell_cannot_break_the_page(tmp_path: Path) -> None:
    write(ENDED, tmp_path / "outcome.md")
    text = (tmp_path / "outcome.md").read_text()
    assert "| train-segmenter-op | pod-3 | CUDA out of memory \\| see the log |" in text


def test_a_good_run_is_one_sentence(tmp_path: Path) -> None:
    good = Outcome("run-1", "glioflow-demo", "demo", "SUCCEEDED", failed=())
    assert write(good, tmp_path / "outcome.md")["sentence"].endswith("succeeded")
    assert "|" not in (tmp_path / "outcome.md").read_text()


@pytest.mark.parametrize("api", ["", "http://127.0.0.1:9", "file:///etc/hostname", "nonsense"])
def test_an_api_that_cannot_be_asked_fails_nothing(api: str, tmp_path: Path) -> None:
    assert failed_steps(api, "run-1") is None
    unknown = Outcome("run-1", "r", "paper", "FAILED", failed=None)
    write(unknown, tmp_path / "outcome.md")
    assert "glioflow status" in (tmp_path / "outcome.md").read_text()


def test_a_refusing_webhook_fails_nothing_and_its_address_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG), _hook(500) as (url, taken):
        assert tell(ENDED, url) is False
        assert tell(ENDED, "http://127.0.0.1:9/secret-path") is False
        assert tell(ENDED, "") is False
    assert len(taken) == 1
    assert b"CUDA" not in taken[0]
    assert "secret-path" not in caplog.text


def _run(monkeypatch: pytest.MonkeyPatch, *tasks: tuple[str, str]) -> None:
    details = [{"display_name": name, "state": state} for name, state in tasks]
    answer = {"run_id": "run-1", "state": "RUNNING", "run_details": {"task_details": details}}
    monkeypatch.setitem(ANSWERS, ("GET", "/apis/v2beta1/runs/run-1"), answer)


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "RUNTIME_STATE_UNSPECIFIED", "", "NEW"])
def test_a_state_that_is_no_end_is_no_failure_and_no_news(state: str) -> None:
    """kubeflow/pipelines#13321: a success is told as RUNNING."""
    unknown = Outcome("run-1", "r", "paper", state, failed=None)
    assert not unknown.bad
    assert not unknown.good
    with _hook(200) as (url, taken):
        assert tell(unknown, url) is False
    assert taken == []


@pytest.mark.parametrize(
    ("state", "tasks", "good", "bad", "told"),
    [
        ("RUNNING", [("make-cohorts-op", "SUCCEEDED"), ("outcome", "RUNNING")], True, False, True),
        ("RUNNING", [("make-cohorts-op", "SUCCEEDED"), ("x", "FAILED")], False, True, True),
        ("RUNNING", [("make-cohorts-op", "RUNNING")], False, False, False),
        ("SUCCEEDED", [("find-new-cohorts-op", "SUCCEEDED")], True, False, False),
        ("SUCCEEDED", [("judge-drift-op", "SUCCEEDED")], True, False, False),
        (
            "SUCCEEDED",
            [("judge-drift-op", "SUCCEEDED"), ("make-cohorts-op", "SUCCEEDED")],
            True,
            False,
            True,
        ),
        ("FAILED", [("find-new-cohorts-op", "FAILED")], False, True, True),
    ],
)
def test_what_is_told_follows_the_tasks(
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    tasks: list[tuple[str, str]],
    good: bool,
    bad: bool,
    told: bool,
) -> None:
    _run(monkeypatch, *tasks)
    with kfp_api() as (api, _), _hook(200) as (url, taken):
        outcome = ended("run-1", "r", "paper", api, state, "")
        assert (outcome.good, outcome.bad, tell(outcome, url)) == (good, bad, told)
    assert len(taken) == told
