"""The dashboard and the alerts ask for metrics that a running server has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from serving.client import Client
from serving.metrics import read_metrics
from serving.request import request_tensors
from serving.server import LocalServer
from serving.tensors import ENSEMBLE
from tests.serving.shop import Shop

MONITORING = Path(__file__).parents[2] / "infra" / "kubernetes" / "components" / "monitoring"
METRIC = re.compile(r"\bnv_\w+")


def _dashboard() -> list[str]:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def _alerts() -> list[str]:
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    return [rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("queries", [_dashboard(), _alerts()], ids=["dashboard", "alerts"])
def test_every_metric_exists(
    shop: Shop, server: LocalServer, client: Client, queries: list[str]
) -> None:
    client.ask(request_tensors(shop.case(1), shop.release.contents))
    found = read_metrics(server.metrics_address)
    named = {name for query in queries for name in METRIC.findall(query)}
    assert named and named <= found.keys()
    assert ENSEMBLE in found["nv_inference_request_success"]


def test_grafana_is_given_the_dashboard() -> None:
    (made,) = yaml.safe_load((MONITORING / "kustomization.yaml").read_text())["configMapGenerator"]
    assert made["files"] == ["dashboard.json"]
    assert made["options"]["labels"] == {"grafana_dashboard": "1"}
