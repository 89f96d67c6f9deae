"""Which package may import which, held by reading every import in the tree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "cohort": {"core"},
    "validate": {"core", "cohort"},
    "preprocess": {"core", "cohort"},
    "training": {"core"},
    "segment": {"core", "cohort", "training"},
    "synthetic": {"core", "cohort", "preprocess", "segment"},
    "features": {"core", "cohort", "preprocess", "segment"},
    "classify": {"core", "cohort", "features", "training"},
    "evaluate": {"core", "cohort"},
    "release": {"core", "cohort", "preprocess", "segment", "features", "classify"},
    "registry": {"core", "cohort", "evaluate", "release"},
    "monitor": {"core", "cohort", "evaluate"},
    "serving": {
        *("core", "cohort", "preprocess", "segment", "synthetic", "features", "classify"),
        "release",
    },
}
"""Package -> packages of `components` whose modules it may import."""

LIBRARIES = {"core", "training", "synthetic", "release"}
"""Packages that are no step of the pipeline: they have no component.py."""

TRAVELS = {"components/registry/tracking/model_code.py": ALLOWED["release"]}
"""Files that no package imports: each is stored in a model version and runs where it is loaded."""

ONLY_IN = {
    "kfp": {"pipelines", "component.py", "kfp.py"},
    "mlflow": {"registry"},
    "tritonclient": {"serving"},
    "great_expectations": {"validate"},
}
"""Package -> where alone it may be imported: a package, the pipelines, or a file name."""


def _sources() -> list[Path]:
    trees = ("components", "pipelines", "serving")
    return [file for tree in trees for file in sorted((ROOT / tree).rglob("*.py"))]


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0 or "glioflow_client" in file.parts, f"{file}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _package(file: Path) -> str:
    parts = file.relative_to(ROOT).parts
    return parts[1] if parts[0] == "components" and len(parts) > 2 else parts[0]


SOURCES = _sources()


def test_the_tree_is_walked() -> None:
    assert {_package(file) for file in SOURCES} >= set(ALLOWED) | {"pipelines"}


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_arrows_point_one_way(file: Path) -> None:
    package = _package(file)
    for name in _imports(file):
        top, *rest = name.split(".")
        if package != "pipelines":
            assert top != "pipelines", f"{file} imports {name}"
        if top == "serving":
            assert package in ("serving", "pipelines"), f"{file} imports {name}"
        if top == "components" and rest and package in ALLOWED:
            travels = TRAVELS.get(file.relative_to(ROOT).as_posix(), set())
            assert rest[0] in ALLOWED[package] | {package} | travels, f"{file} imports {name}"


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_libraries_stay_where_they_belong(file: Path) -> None:
    for name in _imports(file):
        homes = ONLY_IN.get(name.split(".")[0])
        if homes is not None:
            assert {_package(file), file.name} & homes, f"{file} imports {name}"


@pytest.mark.parametrize("package", sorted(set(ALLOWED) - LIBRARIES - {"serving"}))
def test_every_room_has_a_thin_component(package: str) -> None:
    component = ROOT / "components" / package / "component.py"
    tree = ast.parse(component.read_text())
    top_level = _imports(component)
    assert any(name.startswith("components.core.kfp") for name in top_level)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            assert module.split(".")[0] in ("__future__", "typing", "kfp", "components"), module
            assert not module.startswith("components.") or module == "components.core.kfp", module


@pytest.mark.parametrize("package", sorted(set(ALLOWED) - LIBRARIES - {"serving"}))
def test_every_room_tells_what_goes_in_and_out(package: str) -> None:
    text = (ROOT / "components" / package / "README.md").read_text()
    assert text.startswith(f"# {package}\n")
    assert "| in |" in text
    assert "| out |" in text
    named = {word for word in text.replace("`", " ").split() if word.endswith(".py")}
    for name in named:
        found = list((ROOT / "components" / package).rglob(name))
        assert found, f"{package}/README.md names {name}"
