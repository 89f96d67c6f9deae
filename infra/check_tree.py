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
    "export_onnx": "each network's export; called through its package",
    "add_to": "each group of CLI commands registers itself",
}
"""Public names that may be defined in several modules, and why."""


def main() -> int:
    """Print every breach; 0 when there is none."""
    breaches = [*_folders(), *_modules()]
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
            if isinstance(node, ast.FunctionDef) and _length(node) > MAX_FUNCTION_LINES:
                yield f"{name}:{node.lineno}: {node.name} has {_length(node)} lines"
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                defined[node.name].append(name)
    for public, places in sorted(defined.items()):
        if len(places) > 1 and public not in SAME_NAME:
            yield f"{public}: defined in {', '.join(places)}"


def _length(node: ast.FunctionDef) -> int:
    """Lines of a function's body, its docstring left out."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


if __name__ == "__main__":
    sys.exit(main())
