"""What the documentation tells people to type is what there is to type."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from pipelines.cli import app
from tests.infra.page import commands, without_shell

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
TYPED = [(page.name, line) for page in PAGES for line in commands(page)]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


@pytest.mark.parametrize("typed", TYPED, ids=lambda typed: f"{typed[0]}: {typed[1][:60]}")
def test_a_command_is_one_there_is(typed: tuple[str, str]) -> None:
    """Options and arguments are read by the command line itself, which runs nothing here."""
    line = without_shell(typed[1])
    if line.startswith("make "):
        (target,) = line.split()[1:2]
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), line
    if not line.startswith("glioflow "):
        return
    _, name, *rest = shlex.split(line)
    COMMANDS[name].make_context(name, rest)


def test_there_are_commands_to_check() -> None:
    assert len([line for _, line in TYPED if line.startswith("glioflow ")]) >= 20


@NAMED
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_index_names_every_page() -> None:
    listed = set(LINK.findall((ROOT / "docs" / "README.md").read_text()))
    pages = {f.name for f in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= listed
