"""The dashboard and the alerts ask for metrics that a running server has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from components.release.inference.request import request_tensors
from components.release.tensors import ENSEMBLE
from serving.client.client import Client
from serving.triton.metrics import read_metrics
from serving.triton.server import LocalServer
from tests.serving.shop import Shop

COMPONENTS = Path(__file__).parents[2] / "infra" / "kubernetes" / "components"
MONITORING = COMPONENTS / "monitoring"
METRIC = re.compile(r"\b(?:nv|glioflow)_\w+")


def _dashboard() -> list[str]:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def _alerts() -> list[str]:
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    return [rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]]


def _scaling() -> list[str]:
    scaled = yaml.safe_load((COMPONENTS / "keda" / "scaled-object.yaml").read_text())
    return [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]


@pytest.mark.parametrize(
    "queries", [_dashboard(), _alerts(), _scaling()], ids=["dashboard", "alerts", "scaling"]
)
def test_every_metric_exists(
    shop: Shop, server: LocalServer, client: Client, queries: list[str]
) -> None:
    client.ask(request_tensors(shop.case(1), shop.release.contents))
    found = read_metrics(server.metrics_address)
    named = {name for query in queries for name in METRIC.findall(query)}
    assert named and named <= found.keys()
    assert ENSEMBLE in found["nv_inference_request_success"]


def test_answers_are_counted_by_what_they_say(
    shop: Shop, server: LocalServer, client: Client
) -> None:
    def counted(name: str) -> float:
        return read_metrics(server.metrics_address)[name][""]

    before = {name: counted(name) for name in ("glioflow_answers", "glioflow_probability_sum")}
    answers = [
        client.ask(request_tensors(shop.case(seed), shop.release.contents)) for seed in (1, 2, 3)
    ]
    assert client.canary() is None, "no patient, and not counted"
    probability = sum(answer.probability or 0.0 for answer in answers)
    assert counted("glioflow_answers") - before["glioflow_answers"] == len(answers)
    added = counted("glioflow_probability_sum") - before["glioflow_probability_sum"]
    assert added == pytest.approx(probability, abs=1e-4)


def test_grafana_is_given_the_dashboard() -> None:
    (made,) = yaml.safe_load((MONITORING / "kustomization.yaml").read_text())["configMapGenerator"]
    assert made["files"] == ["dashboard.json"]
    assert made["options"]["labels"] == {"grafana_dashboard": "1"}
