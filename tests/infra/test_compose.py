"""The one-machine deployment: pinned, locked down, without a password in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
EACH = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def test_what_it_runs() -> None:
    assert set(SERVICES) == {
        "postgres", "s3", "mlflow", "releases", "triton", "orthanc", "gateway",
    }  # fmt: skip
    optional = {name for name, service in SERVICES.items() if "profiles" in service}
    assert optional == {"orthanc", "gateway"}


@EACH
def test_images_are_pinned_and_can_be_pinned_by_digest(service: dict[str, Any]) -> None:
    variable, _, default = service["image"].removeprefix("${").removesuffix("}").partition(":-")
    assert variable.isupper() or variable.replace("_", "").isupper()
    assert ":" in default
    assert not default.endswith(":latest")


@EACH
def test_containers_are_locked_down(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert {"mem_limit", "cpus"} <= set(service)
    assert not service.get("privileged")
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), "nothing listens to the outside without TLS"


@EACH
def test_passwords_come_from_the_environment(service: dict[str, Any]) -> None:
    for name, value in service.get("environment", {}).items():
        if any(word in name for word in ("PASSWORD", "KEY", "ROOT_USER")):
            assert value.startswith("${"), name
            assert ":?" in value, f"{name} has a default"


@EACH
def test_volumes_are_declared_and_fetched_releases_are_served(service: dict[str, Any]) -> None:
    for volume in service.get("volumes", []):
        assert volume.partition(":")[0] in COMPOSE["volumes"]


def test_commands_are_commands_there_are() -> None:
    import typer

    from pipelines.cli import app

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name in ("releases", "triton"):
        _, command, *rest = SERVICES[name]["entrypoint"]
        commands[command].make_context(command, list(rest))
        assert "/store" in rest
        assert "store:/store" in SERVICES[name]["volumes"]


def test_the_trial_store_is_the_clusters_and_opens_s3_alone() -> None:
    """SeaweedFS's other servers ask for no password: they stay on the loopback address."""
    manifest = ROOT / "infra" / "kubernetes" / "components" / "data" / "object-store.yaml"
    stateful, _ = yaml.safe_load_all(manifest.read_text())
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    command = [*container["command"], *container["args"]]
    assert SERVICES["s3"]["entrypoint"] == command
    assert {"-ip=127.0.0.1", "-s3.ip.bind=0.0.0.0", "-s3.port=9000"} <= set(command)
    folder = yaml.safe_load((manifest.parent / "kustomization.yaml").read_text())
    (image,) = [i for i in folder["images"] if i["name"] == container["image"]]
    assert SERVICES["s3"]["image"] == f"${{S3_IMAGE:-{image['newName']}:{image['newTag']}}}"


@EACH
def test_who_writes_a_volume_owns_it(service: dict[str, Any]) -> None:
    """A new volume has the owner of the image's folder; our image makes its folders its user's."""
    dockerfile = (ROOT / "infra" / "docker" / "Dockerfile").read_text()
    owned = "install -d -o 10001 -g 10001 "
    (folders,) = [x.partition(owned)[2].split() for x in dockerfile.splitlines() if owned in x]
    for volume in service.get("volumes", []):
        _, _, path = volume.partition(":")
        if "glioflow-" in service["image"]:
            assert path in folders
