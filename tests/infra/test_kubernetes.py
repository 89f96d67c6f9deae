"""The Kubernetes manifests: right by Kubernetes' own schemas, and safe by policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

BASE = Path(__file__).resolve().parents[2] / "infra" / "kubernetes" / "base"
FILES = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
OBJECTS = [
    (name, document) for name in FILES for document in yaml.safe_load_all((BASE / name).read_text())
]
PODS = [
    (d["metadata"]["name"], d["spec"]["template"]) for _, d in OBJECTS if d["kind"] == "Deployment"
]


def _title(pair: tuple[str, dict[str, Any]]) -> str:
    return f"{pair[1]['kind']}-{pair[1]['metadata']['name']}"


def test_every_file_is_named_in_the_kustomization() -> None:
    found = {file.name for file in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(FILES) == found


@pytest.mark.parametrize("pair", OBJECTS, ids=_title)
def test_the_schema_of_kubernetes_holds(pair: tuple[str, dict[str, Any]]) -> None:
    kubernetes_validate.validate(pair[1], kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(("name", "pod"), PODS)
def test_pods_meet_the_restricted_standard(name: str, pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(("name", "pod"), PODS)
def test_pods_have_limits_and_probes(name: str, pod: dict[str, Any]) -> None:
    for container in pod["spec"]["containers"]:
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        assert (
            container["resources"]["requests"]["memory"]
            == container["resources"]["limits"]["memory"]
        )
        assert {"readinessProbe", "livenessProbe"} <= set(container)


@pytest.mark.parametrize(("name", "pod"), PODS)
def test_no_secret_stands_in_a_manifest(name: str, pod: dict[str, Any]) -> None:
    for container in pod["spec"]["containers"]:
        for variable in container.get("env", []):
            looks_secret = any(w in variable["name"] for w in ("KEY", "PASSWORD", "SECRET", "URI"))
            assert not (looks_secret and "value" in variable), variable["name"]


def test_images_are_set_by_the_kustomization_and_never_latest() -> None:
    images = yaml.safe_load((BASE / "kustomization.yaml").read_text())["images"]
    known = {image["name"] for image in images}
    used = {c["image"] for _, pod in PODS for c in pod["spec"]["containers"]}
    assert used <= known
    for image in images:
        assert image.get("newTag") not in (None, "latest") or image.get("digest")


def test_everything_is_closed_by_default() -> None:
    policies = [d for _, d in OBJECTS if d["kind"] == "NetworkPolicy"]
    closed = [p for p in policies if p["spec"]["podSelector"] == {} and "egress" not in p["spec"]]
    assert [p["metadata"]["name"] for p in closed] == ["default-deny"]
    selected = {
        p["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/name")
        for p in policies
    }
    assert {name for name, _ in PODS} <= selected
