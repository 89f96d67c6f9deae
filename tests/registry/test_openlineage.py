"""OpenLineage events of a published run: to a file, over HTTP, and to a place that is away."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from components.registry.attestation.openlineage import lineage_events, send_lineage
from components.registry.attestation.statements import PRODUCTS
from components.registry.run_artifacts import RunArtifacts
from tests.registry.fabricated_run import fabricate


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunArtifacts:
    return fabricate(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def received() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Address of a server that takes events, and what it took."""
    events: list[dict[str, Any]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Taker)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", events
    server.shutdown()


def test_nothing_is_sent_unless_openlineage_is_configured(run: RunArtifacts) -> None:
    assert send_lineage(run) == 0


def test_every_step_starts_and_ends_once_below_one_parent(
    run: RunArtifacts, received: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, events = received
    monkeypatch.setenv("OPENLINEAGE_URL", address)
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "hospital")
    assert send_lineage(run) == len(events) == 2 * len(PRODUCTS)
    told = [(event["job"]["name"], event["eventType"]) for event in events]
    assert told == [(f"pipeline.{s}", t) for s in PRODUCTS for t in ("START", "COMPLETE")]
    assert {event["job"]["namespace"] for event in events} == {"hospital"}
    assert len({event["run"]["runId"] for event in events}) == len(PRODUCTS)
    for event in events:
        uuid.UUID(event["run"]["runId"])
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
        datasets = [*event["inputs"], *event["outputs"]]
        for facets in [
            event["run"]["facets"],
            event["job"]["facets"],
            *(d["facets"] for d in datasets),
        ]:
            assert all(facet["_producer"] and facet["_schemaURL"] for facet in facets.values())
    assert len({json.dumps(event["run"]["facets"]["parent"]) for event in events}) == 1


def test_what_a_step_reads_is_what_an_earlier_one_made(run: RunArtifacts) -> None:
    made: dict[str, str] = {}
    manifests = []
    for event in lineage_events(run, datetime(2021, 1, 1, tzinfo=UTC)):
        for dataset in event.inputs or ():
            version = dataset.facets["version"].datasetVersion  # type: ignore[index,attr-defined]
            if dataset.name.startswith("manifest"):
                manifests.append(version)
            else:
                assert made[dataset.name] == version
        for dataset in event.outputs or ():
            made[dataset.name] = dataset.facets["version"].datasetVersion  # type: ignore[index,attr-defined]
    assert set(made) == {
        "validated", "segmenter/plan.json", "segmenter", "samples", "classifier",
        "predictions.csv", "evaluation", "repository",
    }  # fmt: skip
    assert manifests


def test_the_same_run_is_the_same_events_in_a_file(
    run: RunArtifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__APPEND", "true")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(tmp_path / "events.ndjson"))
    for _ in range(2):
        assert send_lineage(run) == 2 * len(PRODUCTS)
    events = [json.loads(line) for line in (tmp_path / "events.ndjson").read_text().splitlines()]
    assert len(events) == 4 * len(PRODUCTS)
    assert len({event["run"]["runId"] for event in events}) == len(PRODUCTS)


def test_a_place_that_is_away_is_told_and_stops_nothing(
    run: RunArtifacts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    assert send_lineage(run) == 0
    assert "events of this run were not taken" in caplog.text
