"""Output shared by the commands: JSON, progress bars."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

console = Console(stderr=True)
"""Messages go to stderr; stdout is for results."""

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]

Commands = dict[str, tuple[Callable[..., Any], ...]]
"""Heading in `glioflow --help` -> the commands below it, named by their functions."""


def print_json(content: Any) -> None:
    """One JSON document on stdout; missing numbers are null."""
    sys.stdout.write(json.dumps(content, indent=2, allow_nan=False, default=str) + "\n")


@contextmanager
def progress_bar(title: str) -> Iterator[Any]:
    """A bar on stderr; yields the callback (done, total, what) that library functions take."""
    with _bar() as bar:
        task = bar.add_task(title, total=None)

        def report(done: int, total: int, what: str = "") -> None:
            bar.update(task, completed=done, total=total, description=f"{title} {what}".strip())

        yield report


@contextmanager
def step_bars() -> Iterator[Any]:
    """A bar a step of the pipeline; yields a callback for pipelines.local.Event.

    Parts of one step that run in parallel (by process) are added up.
    """
    with _bar() as bar:
        tasks: dict[str, Any] = {}
        parts: dict[str, dict[int, tuple[int, int]]] = {}

        def watch(event: Any) -> None:
            if event.step not in tasks:
                tasks[event.step] = bar.add_task(event.step, total=None)
            part = parts.setdefault(event.step, {})
            part[event.pid] = (event.done, event.total)
            done, total = (sum(numbers) for numbers in zip(*part.values(), strict=True))
            label = f"{event.step:<11} [dim]{event.what[:40]}"
            bar.update(tasks[event.step], completed=done, total=total, description=label)

        yield watch


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description:<54}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
