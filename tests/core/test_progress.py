"""Progress of a step: JSON lines in a file, or the log."""

import json
import logging
from pathlib import Path

import pytest

from components.core.progress import PROGRESS_FILE, reporter


def test_every_call_is_a_line_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROGRESS_FILE, str(tmp_path / "progress"))
    for step in ("segment", "classify"):
        reporter(step)(1, 2, "fold 1")
    lines = [json.loads(line) for line in (tmp_path / "progress").read_text().splitlines()]
    assert [line["step"] for line in lines] == ["segment", "classify"]
    assert {(line["done"], line["total"], line["what"]) for line in lines} == {(1, 2, "fold 1")}


def test_the_log_has_the_first_and_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(PROGRESS_FILE, raising=False)
    report = reporter("segment")
    with caplog.at_level(logging.INFO, logger="glioflow.segment"):
        for done in range(101):
            report(done, 100, "patients")
    assert [record.args for record in caplog.records] == [
        (0, 100, "patients"),
        (100, 100, "patients"),
    ]
