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
    assert set(SERVICES) == {"postgres", "s3", "mlflow", "releases", "triton"}


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
