"""The Kubernetes manifests: right by their schemas, safe by policy, and about each other."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils

from components.release.settings import ServingSettings
from components.release.tensors import ENSEMBLES

# Every call would parse the definitions of the whole API again.
utils.schema_contents = cache(utils.schema_contents)

ROOT = Path(__file__).resolve().parents[2] / "infra" / "kubernetes"
SCHEMAS = Path(__file__).parent / "schemas"
CUSTOM = {file.stem for file in SCHEMAS.glob("*.json")}
OVERLAYS = sorted(folder.name for folder in (ROOT / "overlays").iterdir())
SECRETS = {
    "glioflow-object-store",
    "glioflow-mlflow",
    "glioflow-clients",
    "glioflow-pacs",
    "triton-tls",
}
"""Secrets that an operator makes; docs/kubeflow.md tells how."""

Document = dict[str, Any]


def _files() -> list[Path]:
    return sorted(f for f in ROOT.rglob("*.yaml") if f.name != "kustomization.yaml")


FILES = _files()
DOCUMENTS = [
    (file, document) for file in FILES for document in yaml.safe_load_all(file.read_text())
]


def _title(pair: Any) -> str:
    if isinstance(pair, tuple):
        document = pair[1]
        metadata = document["metadata"]
        return f"{document['kind']}-{metadata['name']}"
    return str(pair)


@cache
def _schema(kind: str) -> Any:
    return jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{kind}.json").read_text()))


def _check_schema(document: Document) -> None:
    if document["kind"] in CUSTOM:
        errors = [
            f"{'.'.join(map(str, e.absolute_path))}: {e.message}"
            for e in _schema(document["kind"]).iter_errors(document)
        ]
        assert errors == []
    else:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def _pods(documents: list[Document]) -> Iterator[tuple[str, Document, Document]]:
    """(name, labels, pod spec) of everything that makes pods."""
    for document in documents:
        spec = document.get("spec", {})
        name = document["metadata"].get("name", "")
        if document["kind"] in ("Deployment", "StatefulSet"):
            yield name, spec["template"]["metadata"]["labels"], spec["template"]["spec"]
        elif document["kind"] == "InferenceService":
            yield name, spec["predictor"]["labels"], spec["predictor"]


PODS = list(_pods([document for _, document in DOCUMENTS]))
POD_PARAMETERS = pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod[0])


def _containers(pod: Document) -> list[Document]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_there_is_something_to_check() -> None:
    kinds = {document["kind"] for _, document in DOCUMENTS}
    assert kinds >= CUSTOM | {"Deployment", "StatefulSet", "NetworkPolicy"}
    assert len(PODS) >= 5


def test_every_file_is_named_in_its_kustomization() -> None:
    for folder in {file.parent for file in FILES}:
        found = {f.name for f in folder.glob("*.yaml")} - {"kustomization.yaml"}
        named = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
        assert {name for name in named if name.endswith(".yaml")} == found, folder


@pytest.mark.parametrize("pair", DOCUMENTS, ids=_title)
def test_the_schema_holds(pair: tuple[Path, Document]) -> None:
    _check_schema(pair[1])


def test_a_misspelt_field_is_refused() -> None:
    """The schemas are strict: this test would see one that takes everything."""
    for kind in CUSTOM:
        document = next(d for _, d in DOCUMENTS if d["kind"] == kind)
        with pytest.raises(AssertionError):
            _check_schema({**document, "spec": {**document["spec"], "mispelt": 1}})


@POD_PARAMETERS
def test_pods_meet_the_restricted_standard(pod: tuple[str, Document, Document]) -> None:
    spec = pod[2]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert not any("hostPath" in volume for volume in spec.get("volumes", []))
    for container in _containers(spec):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}


@POD_PARAMETERS
def test_containers_have_limits_and_volumes_have_sizes(
    pod: tuple[str, Document, Document],
) -> None:
    for container in _containers(pod[2]):
        limits, requests = (container["resources"][k] for k in ("limits", "requests"))
        assert {"cpu", "memory"} <= set(limits)
        assert requests["memory"] == limits["memory"], "memory is not overcommitted"
    for volume in pod[2].get("volumes", []):
        if "emptyDir" in volume:
            assert "sizeLimit" in volume["emptyDir"], volume["name"]


@POD_PARAMETERS
def test_servers_are_probed(pod: tuple[str, Document, Document]) -> None:
    served = [c for c in _containers(pod[2]) if c.get("ports")]
    for container in served:
        assert {"readinessProbe", "livenessProbe"} <= set(container)


@POD_PARAMETERS
def test_no_secret_stands_in_a_manifest(pod: tuple[str, Document, Document]) -> None:
    for container in _containers(pod[2]):
        for variable in container.get("env", []):
            looks_secret = any(
                w in variable["name"] for w in ("KEY", "PASSWORD", "SECRET", "STORE_URI", "ROOT")
            )
            assert not (looks_secret and "value" in variable), variable["name"]
        for argument in (*container.get("args", []), *container.get("command", [])):
            assert "password" not in argument.lower()
    assert not [d for _, d in DOCUMENTS if d["kind"] == "Secret"]


def test_triton_serves_what_was_fetched() -> None:
    """The folder that is filled is the folder that is served, in both ways of deploying."""
    for name in ("triton", "glioma-idh"):
        spec = next(pod[2] for pod in PODS if pod[0] == name)
        commands = [c["command"] for c in _containers(spec)]
        fetch = [c for c in commands if c[1] == "fetch-release"]
        (serve,) = [c for c in commands if c[1] == "serve"]
        assert fetch[0][2:] == ["$(GLIOFLOW_RELEASES)", "--store", "/store"]
        assert fetch[1][2:] == ["$(GLIOFLOW_RELEASES)", "--store", "/store", "--watch", "60"]
        assert serve[2:4] == ["--store", "/store"]
        mounts = [{m["name"]: m["mountPath"] for m in c["volumeMounts"]} for c in _containers(spec)]
        assert {mount["store"] for mount in mounts} == {"/store"}
        serving = next(c for c in spec["containers"] if c["command"][1] == "serve")
        assert "envFrom" not in serving, "the server needs no key of the object store"


def test_the_commands_in_manifests_are_commands_there_are() -> None:
    """By parsing them with the command line itself."""
    import typer

    from pipelines.cli import app

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    checked = set()
    for _, _, spec in PODS:
        for container in _containers(spec):
            probes = [container.get(p, {}).get("exec", {}).get("command", []) for p in PROBES]
            for line in (container.get("command", []), *probes):
                if line[:1] == ["glioflow"]:
                    command = commands[line[1]]
                    command.make_context(line[1], list(line[2:]), resilient_parsing=False)
                    checked.add(line[1])
    assert checked == {"fetch-release", "serve", "ready", "gateway"}


@POD_PARAMETERS
def test_a_probe_outlasts_its_patience(pod: tuple[str, Document, Document]) -> None:
    """A full server must be found alive before Kubernetes ends the probe."""
    for container in _containers(pod[2]):
        for probe in (container[name] for name in PROBES if name in container):
            command = probe.get("exec", {}).get("command", [])
            if command[:2] == ["glioflow", "ready"]:
                told = dict(zip(command[2::2], command[3::2], strict=True))
                assert float(told.get("--patience", "25")) < probe["timeoutSeconds"]


PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def test_a_pod_that_stops_has_time_to_drain() -> None:
    from serving.triton.server import DRAIN_TIMEOUT_S

    for name in ("triton", "glioma-idh"):
        spec = next(pod[2] for pod in PODS if pod[0] == name)
        hook = next(c["lifecycle"]["preStop"] for c in spec["containers"] if "lifecycle" in c)
        wait = int(hook["exec"]["command"][1])
        assert spec["terminationGracePeriodSeconds"] >= wait + DRAIN_TIMEOUT_S


@cache
def _rendered(overlay: str) -> list[Document]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is needed to render overlays")
    return _render(ROOT / "overlays" / overlay)


def _render(folder: Path) -> list[Document]:
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_rendered_overlay_is_valid_and_pinned(overlay: str) -> None:
    documents = _rendered(overlay)
    for document in documents:
        _check_schema(document)
        if document["kind"] not in ("Namespace",):
            assert document["metadata"]["namespace"] == "glioflow", document["metadata"]
    for name, _, spec in _pods(documents):
        for container in _containers(spec):
            image, _, tag = container["image"].rpartition(":")
            assert image, f"{name}: {container['image']} has neither tag nor digest"
            assert tag != "latest"
            assert "/" in image, f"{name}: {image} names no registry"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_points_at_something_finds_it(overlay: str) -> None:
    documents = _rendered(overlay)
    pods = list(_pods(documents))
    for document in documents:
        spec, name = document.get("spec", {}), document["metadata"]["name"]
        if document["kind"] in ("Service", "PodDisruptionBudget"):
            selector = spec["selector"].get("matchLabels", spec["selector"])
            matched = [p for p in pods if selector.items() <= p[1].items()]
            assert matched, f"{document['kind']} {name} selects nothing"
            if document["kind"] == "Service":
                ports = {p["name"] for c in matched[0][2]["containers"] for p in c.get("ports", [])}
                assert {p["targetPort"] for p in spec["ports"]} <= ports
        if document["kind"] == "ServiceMonitor":
            wanted = spec["selector"]["matchLabels"].items()
            services = [
                d
                for d in documents
                if d["kind"] == "Service" and wanted <= d["metadata"].get("labels", {}).items()
            ]
            assert {e["port"] for e in spec["endpoints"]} <= {
                p["name"] for s in services for p in s["spec"]["ports"]
            }
        if document["kind"] == "ScaledObject":
            assert ("Deployment", spec["scaleTargetRef"]["name"]) in {
                (d["kind"], d["metadata"]["name"]) for d in documents
            }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_pods_refer_to_is_there(overlay: str) -> None:
    documents = _rendered(overlay)
    made = {(d["kind"], d["metadata"]["name"]) for d in documents}
    for _, _, spec in _pods(documents):
        account = spec.get("serviceAccountName")
        assert account is None or ("ServiceAccount", account) in made
        for volume in spec.get("volumes", []):
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert ("PersistentVolumeClaim", claim) in made
        for container in _containers(spec):
            for source in container.get("envFrom", []):
                assert source["secretRef"]["name"] in SECRETS
            for variable in container.get("env", []):
                origin = variable.get("valueFrom", {})
                if "secretKeyRef" in origin:
                    assert origin["secretKeyRef"]["name"] in SECRETS
                if "configMapKeyRef" in origin:
                    assert ("ConfigMap", origin["configMapKeyRef"]["name"]) in made


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_closed_by_default_and_each_server_opened(overlay: str) -> None:
    documents = _rendered(overlay)
    policies = [d["spec"] for d in documents if d["kind"] == "NetworkPolicy"]
    closed = [p for p in policies if p["podSelector"] == {} and not {"egress", "ingress"} & set(p)]
    assert [p["policyTypes"] for p in closed] == [["Ingress", "Egress"]]
    assert not [p for p in policies if p.get("ingress") == [{}] or p.get("egress") == [{}]]
    for name, labels, _ in _pods(documents):
        opened = [
            p
            for p in policies
            if p["podSelector"].get("matchLabels", {}).items() <= labels.items()
            and p["podSelector"]
            and "Ingress" in p["policyTypes"]
        ]
        assert opened, f"nothing may reach {name}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_autoscaler_at_most_and_no_replicas_beside_it(overlay: str) -> None:
    """Applied again, `replicas` would undo what the autoscaler did."""
    documents = _rendered(overlay)
    scalers = [d for d in documents if d["kind"] in ("ScaledObject", "HorizontalPodAutoscaler")]
    assert len(scalers) <= 1
    for document in documents:
        if (document["kind"], document["metadata"]["name"]) == ("Deployment", "triton"):
            assert "replicas" not in document["spec"]


OLDEST = "1.29"
"""Kubernetes with native sidecars switched on; docs/kubeflow.md states it."""


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_oldest_kubernetes_knows_every_field(overlay: str) -> None:
    assert f"Kubernetes {OLDEST}" in (ROOT.parents[1] / "docs" / "kubeflow.md").read_text()
    for document in _rendered(overlay):
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, OLDEST, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_resolve_behind_every_kind_of_cluster_dns(overlay: str) -> None:
    (policy,) = [d for d in _rendered(overlay) if d["metadata"]["name"] == "allow-dns"]
    assert policy["spec"]["podSelector"] == {}
    reached = {
        (str(to.get("ipBlock", {}).get("cidr") or to["namespaceSelector"]["matchLabels"][NAME]), p)
        for rule in policy["spec"]["egress"]
        for to in rule["to"]
        for p in ((port["protocol"], port["port"]) for port in rule["ports"])
    }
    places = (("kube-system", 53), ("169.254.20.10/32", 53), ("openshift-dns", 5353))
    assert reached == {
        (place, (protocol, port)) for place, port in places for protocol in ("UDP", "TCP")
    }


NAME = "kubernetes.io/metadata.name"
CHANGED = {
    "s3-port": "9443",
    "database-port": "6432",
    "steps-namespace": "pipelines",
    "monitoring-namespace": "observability",
    "prometheus": "http://thanos.observability:10902",
    "prometheus-release": "monitoring-stack",
    "bind-address": "::",
    "hostname": "idh.hospital.example",
    "gateway-class": "envoy",
    "gateway-namespace": "gateways",
}
DISTINCT = ("bind-address", "hostname", "gateway-class", "gateway-namespace")
"""Settings whose value means nothing else wherever it stands."""


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_setting_reaches_every_place_of_its_value(overlay: str, tmp_path: Path) -> None:
    """As overlays/prod tells: a ConfigMap that merges changes the values."""
    settings = yaml.safe_load((ROOT / "base" / "settings.yaml").read_text())["data"]
    assert set(CHANGED) == set(settings)
    shutil.copytree(ROOT, tmp_path / "k")
    file = tmp_path / "k" / "overlays" / overlay / "kustomization.yaml"
    content = yaml.safe_load(file.read_text())
    content["configMapGenerator"] = [
        {
            "name": "glioflow-settings",
            "namespace": "glioflow",
            "behavior": "merge",
            "literals": [f"{key}={value}" for key, value in CHANGED.items()],
        }
    ]
    file.write_text(yaml.safe_dump(content))
    before, after = _leaves(_rendered(overlay)), _leaves(_render(file.parent))
    kept = {path for path in before if before[path] == after[path]}
    assert set(before) == set(after)
    for path in kept:
        named = "egress" in path or path[-1] in (NAME, "release", "serverAddress")
        named = named or before[path] in {settings[key] for key in DISTINCT}
        assert not (named and str(before[path]) in settings.values()), path
    for path in set(before) - kept:
        assert str(after[path]) in CHANGED.values()
        (key,) = [key for key, value in CHANGED.items() if value == str(after[path])]
        assert str(before[path]) == settings[key], path
        assert type(before[path]) is type(after[path]), path


def _leaves(documents: list[Document]) -> dict[tuple[str, ...], Any]:
    """(kind, name, keys...) of every value in rendered manifests; of a flag what it is set to."""
    found: dict[tuple[str, ...], Any] = {}

    def walk(path: tuple[str, ...], node: Any) -> None:
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in pairs:
            if isinstance(value, dict | list):
                walk((*path, str(key)), value)
            else:
                flag = isinstance(value, str) and value.startswith("-") and "=" in value
                found[(*path, str(key))] = value.partition("=")[2] if flag else value

    for document in documents:
        walk((document["kind"], document["metadata"]["name"]), document)
    return found


def test_the_namespace_enforces_the_restricted_standard() -> None:
    (namespace,) = [d for _, d in DOCUMENTS if d["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def _outside(kind: str) -> Document:
    """The one document of a kind in components/gateway."""
    (found,) = [d for f, d in DOCUMENTS if f.parent.name == "gateway" and d["kind"] == kind]
    return found


def test_outside_clients_cannot_load_models() -> None:
    (rule,) = _outside("GRPCRoute")["spec"]["rules"]
    methods = [match["method"] for match in rule["matches"]]
    assert {method["service"] for method in methods} == {"inference.GRPCInferenceService"}
    assert {method["method"] for method in methods} == {
        "ModelInfer",
        "ModelConfig",
        "ModelMetadata",
        "ModelReady",
        "ServerReady",
        "ServerLive",
    }
    (rule,) = _outside("HTTPRoute")["spec"]["rules"]
    assert {match["path"]["type"] for match in rule["matches"]} == {"Exact"}
    asked = {(match["method"], match["path"]["value"]) for match in rule["matches"]}
    models = [f"/v2/models/{name}" for name in ENSEMBLES]
    assert asked == {
        *(("POST", f"{model}/infer") for model in models),
        *(("GET", f"{model}{about}") for model in models for about in ("", "/ready")),
        ("GET", "/v2/health/ready"),
        ("GET", "/v2/health/live"),
    }


def test_outside_clients_show_a_certificate_to_a_name_that_has_one() -> None:
    (listener,) = _outside("Gateway")["spec"]["listeners"]
    certificate = _outside("Certificate")["spec"]
    assert listener["protocol"] == "HTTPS"
    assert [r["name"] for r in listener["tls"]["certificateRefs"]] == [certificate["secretName"]]
    assert [listener["hostname"]] == certificate["dnsNames"]
    validation = _outside("ClientTrafficPolicy")["spec"]["tls"]["clientValidation"]
    assert not validation.get("optional")
    assert {ref["name"] for ref in validation["caCertificateRefs"]} <= SECRETS


def test_the_gateway_waits_as_long_as_an_answer_may_take() -> None:
    """Envoy's own limit, 15 s, is shorter than an answer of a busy server."""
    limits = _outside("BackendTrafficPolicy")["spec"]
    serving = ServingSettings()
    waits = int(limits["timeout"]["http"]["requestTimeout"].removesuffix("s"))
    assert waits >= serving.queue_timeout_s + serving.limits.seconds
    (kserve,) = [d for _, d in DOCUMENTS if d["kind"] == "InferenceService"]
    assert kserve["spec"]["predictor"]["timeout"] == waits
    assert limits["requestBuffer"]["limit"].endswith("Mi")


def test_routes_and_their_limits_hang_together() -> None:
    documents = _rendered("prod")
    gateway = _outside("Gateway")
    (service,) = [
        d for d in documents if (d["kind"], d["metadata"]["name"]) == ("Service", "triton")
    ]
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    for kind, port in (("GRPCRoute", "grpc"), ("HTTPRoute", "http")):
        spec = _outside(kind)["spec"]
        (rule,) = spec["rules"]
        assert rule["backendRefs"] == [{"name": "triton", "port": ports[port]}]
        assert spec["hostnames"] == [gateway["spec"]["listeners"][0]["hostname"]]
        assert spec["parentRefs"] == [{"name": "triton", "sectionName": "https"}]
    for kind in ("ClientTrafficPolicy", "BackendTrafficPolicy"):
        (target,) = _outside(kind)["spec"]["targetRefs"]
        assert (target["kind"], target["name"]) == ("Gateway", gateway["metadata"]["name"])
    (policy,) = [d["spec"] for d in documents if d["metadata"]["name"] == "triton-gateway"]
    opened = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert opened == {ports["grpc"], ports["http"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_workload_has_an_account_of_its_own_without_rights(overlay: str) -> None:
    documents = _rendered(overlay)
    accounts = [spec.get("serviceAccountName") for _, _, spec in _pods(documents)]
    assert len(set(accounts)) == len(accounts)
    for account in accounts:
        (made,) = [
            d
            for d in documents
            if (d["kind"], d["metadata"]["name"]) == ("ServiceAccount", account)
        ]
        assert made["automountServiceAccountToken"] is False
    rights = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
    assert not [d for d in documents if d["kind"] in rights]


def test_the_steps_account_may_name_what_it_reads_and_change_nothing_but_reports() -> None:
    documents = _render(ROOT / "steps")
    for document in documents:
        _check_schema(document)
        assert document["metadata"]["namespace"] == "kubeflow"
    found = {(d["kind"], d["metadata"]["name"]): d for d in documents}
    binding = found[("RoleBinding", "glioflow-steps")]
    assert ("Role", binding["roleRef"]["name"]) in found
    (subject,) = binding["subjects"]
    assert (subject["kind"], subject["name"]) in found
    assert subject["namespace"] == "kubeflow"
    for rule in found[("Role", "glioflow-steps")]["rules"]:
        assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        if rule["apiGroups"] == [""]:
            assert rule["resourceNames"]
            assert rule["verbs"] == ["get"]
        else:
            assert rule["apiGroups"] == ["argoproj.io"]
            assert set(rule["resources"]) <= {
                "workflowtaskresults",
                "workflowtasksets",
                "workflowtasksets/status",
            }
