"""The commands that a page of the documentation tells people to type."""

from __future__ import annotations

import re
from pathlib import Path

_BLOCK = re.compile(r"^```console\n(.*?)^```", re.M | re.S)
_SHELL = re.compile(r"\s(?:&|&&.*|>.*|#.*)$")


def commands(page: Path) -> list[str]:
    """Every `$` line of its console blocks, lines continued by a backslash joined."""
    text = "\n".join(_BLOCK.findall(page.read_text())).replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    return [" ".join(line[1:].split()) for line in lines if line.startswith("$ ")]


def without_shell(command: str) -> str:
    """The command without what the shell makes of its end: comment, redirection, background."""
    while (shorter := _SHELL.sub("", command)) != command:
        command = shorter
    return command
