"""CI, dependency updates, compose and the bill of materials: by their schemas, and by policy."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
SCHEMAS = {
    **dict.fromkeys(WORKFLOWS, "vendor.github-workflows"),
    ROOT / ".github" / "dependabot.yml": "vendor.dependabot",
    ROOT / "infra" / "compose.yaml": "vendor.compose-spec",
}
EACH = pytest.mark.parametrize("file", WORKFLOWS, ids=lambda f: f.stem)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's booleans: `on` is a word, as GitHub reads it."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in pairs if tag != "tag:yaml.org,2002:bool"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))


def _read(file: Path) -> Any:
    return yaml.load(file.read_text(), _Loader)


def _errors(content: Any, schema: str) -> list[str]:
    found = get_builtin_schema(schema)
    validator = validator_for(found, Draft202012Validator)(found)
    return [f"{list(e.absolute_path)}: {e.message}" for e in validator.iter_errors(content)]


@pytest.mark.parametrize("file", SCHEMAS, ids=lambda f: f.name)
def test_the_schema_holds(file: Path) -> None:
    content = _read(file)
    assert _errors(content, SCHEMAS[file]) == []
    assert _errors({**content, "mispelt": {}}, SCHEMAS[file]) != []


def _jobs(file: Path) -> dict[str, Any]:
    return _read(file)["jobs"]


@EACH
def test_actions_are_pinned_by_commit(file: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", file.read_text())
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action), action
        assert re.search(r"# v\d", comment), f"{action} does not say its version"


@EACH
def test_jobs_may_read_and_no_more_unless_they_publish(file: Path) -> None:
    assert _read(file)["permissions"] == {"contents": "read"}
    for name, job in _jobs(file).items():
        assert job["timeout-minutes"] <= 120
        assert ("permissions" in job) == (file.stem == "release"), name
        for step in job["steps"]:
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


@EACH
def test_what_is_run_is_there(file: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for job in _jobs(file).values():
        for step in job["steps"]:
            line = step.get("run", "")
            for target in re.findall(r"\bmake ([\w-]+)", line):
                assert re.search(rf"^{target}:", makefile, re.M), line
            for script in re.findall(r"\bbash (\S+)", line):
                assert (ROOT / script).is_file(), line


def test_ci_checks_builds_scans_and_a_release_is_signed() -> None:
    ci, release = (
        (ROOT / ".github/workflows" / n).read_text() for n in ("ci.yaml", "release.yaml")
    )
    for step in ("make test", "make sbom", "pip-audit", "build.sh", "trivy-action"):
        assert step in ci
    for step in ("sbom: true", "provenance: mode=max", "cosign sign"):
        assert step in release


def test_the_bill_of_materials_names_what_is_pinned(tmp_path: Path) -> None:
    """Of the lock file, as `make sbom` makes it of the environment."""
    out = tmp_path / "sbom.json"
    tool = Path(sys.executable).parent / "cyclonedx-py"
    project = ("--pyproject", ROOT / "pyproject.toml")
    command = [tool, "requirements", ROOT / "constraints.txt", *project, "--output-file", out]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "infra.sbom", out], check=True, cwd=ROOT)
    bill = json.loads(out.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    found = {f"{part['name']}=={part['version']}" for part in bill["components"]}
    pinned = set((ROOT / "constraints.txt").read_text().split())
    assert found == {*pinned, "niivue==0.69.0"}
    carried = next(part for part in bill["components"] if part["name"] == "niivue")
    assert carried["purl"] == "pkg:npm/%40niivue/niivue@0.69.0"
    depends = {entry["ref"]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    assert carried["bom-ref"] in depends[bill["metadata"]["component"]["bom-ref"]]
