"""The house's arrows: which room may import which, held by reading every import in the tree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ALLOWED = {
    "cohort": set(),
    "validate": {"cohort"},
    "preprocess": {"cohort"},
    "segment": {"cohort"},
    "features": {"cohort", "preprocess", "segment"},
    "classify": {"cohort", "features"},
    "evaluate": {"cohort"},
    "publish": {"cohort", "evaluate"},
    "outcome": {"cohort"},
    "trigger": {"cohort"},
    "drift": {"cohort"},
    "serving": {"cohort", "preprocess", "segment", "features", "classify"},
}
"""Room -> rooms whose modules it may import."""

TRAVELS = {"components/publish/model_code.py": ALLOWED["serving"]}
"""Files that no room imports: each travels in a model version and runs wherever that is loaded."""

HOUSE = {"device", "graphs", "hardware", "images", "pages", "progress", "weights"}
"""Modules of the components package itself, open to every room."""

ONLY_IN = {
    "kfp": {"pipelines", "component.py", "images.py"},
    "mlflow": {"publish"},
    "tritonclient": {"serving"},
    "great_expectations": {"validate"},
}
"""Package -> where alone it may be imported: a room, the pipelines, or a file name."""


def _sources() -> list[Path]:
    trees = ("components", "pipelines", "serving")
    return [file for tree in trees for file in sorted((ROOT / tree).rglob("*.py"))]


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _room(file: Path) -> str:
    parts = file.relative_to(ROOT).parts
    return parts[1] if parts[0] == "components" and len(parts) > 2 else parts[0]


SOURCES = _sources()


def test_the_tree_is_walked() -> None:
    assert {_room(file) for file in SOURCES} >= set(ALLOWED) | {"pipelines"}


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_arrows_point_one_way(file: Path) -> None:
    room = _room(file)
    for name in _imports(file):
        top, *rest = name.split(".")
        if room != "pipelines":
            assert top != "pipelines", f"{file} imports {name}"
        if top == "serving":
            assert room in ("serving", "pipelines"), f"{file} imports {name}"
        if top == "components" and rest and rest[0] not in HOUSE and room in ALLOWED:
            travels = TRAVELS.get(file.relative_to(ROOT).as_posix(), set())
            assert rest[0] in ALLOWED[room] | {room} | travels, f"{file} imports {name}"


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_packages_stay_in_their_rooms(file: Path) -> None:
    for name in _imports(file):
        homes = ONLY_IN.get(name.split(".")[0])
        if homes is not None:
            assert {_room(file), file.name} & homes, f"{file} imports {name}"


@pytest.mark.parametrize("room", [room for room in ALLOWED if room != "serving"])
def test_every_room_has_a_thin_component(room: str) -> None:
    component = ROOT / "components" / room / "component.py"
    tree = ast.parse(component.read_text())
    top_level = _imports(component)
    assert any(name.startswith("components.images") for name in top_level)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            assert module.split(".")[0] in ("__future__", "typing", "kfp", "components"), module
            assert not module.startswith("components.") or module == "components.images", module


@pytest.mark.parametrize("room", [room for room in ALLOWED if room != "serving"])
def test_every_room_tells_what_goes_in_and_out(room: str) -> None:
    text = (ROOT / "components" / room / "README.md").read_text()
    assert text.startswith(f"# {room}\n")
    assert "| in |" in text
    assert "| out |" in text
    named = {word for word in text.replace("`", " ").split() if word.endswith(".py")}
    for name in named:
        assert list((ROOT / "components" / room).rglob(name)), f"{room}/README.md names {name}"
