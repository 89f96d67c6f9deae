"""Check the rules of the source tree: sizes of files, functions and folders, one meaning per name.

Run by `make lint`. Exits with 1 and one line per breach.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("components", "pipelines", "serving")
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 50
MAX_FOLDER_FILES = 12

SAME_NAME = {
    "TritonPythonModel": "Triton looks for this name in every model.py",
    "export_onnx": "one per network, called by its package's name",
    "export_untrained": "one per network, called by its package's name",
    "main": "entry points of processes",
}
"""Public names that may be defined in several modules, and why."""


LONG_FUNCTIONS = {
    "build": "the KFP graph: one function by KFP's design",
    "glioflow": "the same",
    "build_guarded": "the KFP graph around it",
}
"""Functions that may be longer, and why."""

CALLED_BY_OTHERS = {
    "TritonPythonModel", "initialize", "execute", "finalize",  # Triton
    "load_context", "predict",  # MLflow
    "redirect_request",  # urllib
    "model_class",  # model.py of a release
    "collect",  # prometheus_client
}  # fmt: skip
"""Names that a framework calls."""

DECORATORS = ["@model_validator", "@field_validator", "@property", "@cached_property"]


OWN_NAMES = ("pipelines/cli/", "serving/client/")
"""Folders left out: commands are named like the functions that they call, and the thin client is a
package of its own, whose classes the full client extends under their names."""


def main() -> int:
    """Print every breach; 0 when there is none."""
    breaches = [*_folders(), *_modules(), *_dead_code()]
    for breach in breaches:
        print(breach)
    return int(bool(breaches))


def _sources() -> list[Path]:
    return sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def _folders() -> Iterator[str]:
    counts: dict[Path, int] = defaultdict(int)
    for file in _sources():
        counts[file.parent] += 1
    for folder, count in sorted(counts.items()):
        if count > MAX_FOLDER_FILES:
            yield f"{folder.relative_to(ROOT)}: {count} modules, more than {MAX_FOLDER_FILES}"


def _modules() -> Iterator[str]:
    defined: dict[str, list[str]] = defaultdict(list)
    for file in _sources():
        name, text = file.relative_to(ROOT).as_posix(), file.read_text()
        if (lines := text.count("\n")) > MAX_FILE_LINES:
            yield f"{name}: {lines} lines, more than {MAX_FILE_LINES}"
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.FunctionDef)
                and _length(node) > MAX_FUNCTION_LINES
                and node.name not in LONG_FUNCTIONS
            ):
                yield f"{name}:{node.lineno}: {node.name} has {_length(node)} lines"
        for node in [] if name.startswith(OWN_NAMES) else tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                defined[node.name].append(name)
    for public, places in sorted(defined.items()):
        if len(places) > 1 and public not in SAME_NAME:
            yield f"{public}: defined in {', '.join(places)}"


def _dead_code() -> Iterator[str]:
    """Functions, methods and classes that nothing uses, tests included."""
    from vulture import Vulture

    finder = Vulture(ignore_names=sorted(CALLED_BY_OTHERS), ignore_decorators=DECORATORS)
    finder.scavenge([str(ROOT / folder) for folder in (*PACKAGES, "tests")])
    for item in finder.get_unused_code(min_confidence=60):
        place = item.filename.resolve().relative_to(ROOT)
        if item.typ in ("function", "method", "class") and place.parts[0] != "tests":
            yield f"{place}:{item.first_lineno}: {item.typ} {item.name} is used by nothing"


def _length(node: ast.FunctionDef) -> int:
    """Lines of a function's body, its docstring left out."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


if __name__ == "__main__":
    sys.exit(main())
