"""The tasks of a run, as the KFP v2beta1 API tells them, brought to the steps people know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

EXECUTOR = "executor"
"""Name of the task inside a step's own that does the step's work."""

INTERNAL = ("-driver",)
"""Endings of the names of KFP's own tasks, which prepare a step."""

FAILED = "FAILED"


@dataclass(frozen=True)
class Task:
    """One task of a run; a step that runs in parts has one a part.

    Attributes:
        group: whether it only holds other tasks (a loop, a nested pipeline).
    """

    name: str
    state: str
    message: str = ""
    pod: str = ""
    started: Any = None
    ended: Any = None
    group: bool = False


def read_tasks(details: Iterable[Mapping[str, Any]]) -> tuple[Task, ...]:
    """Tasks of a run's `task_details`, in their order; an executor bears its step's name."""
    details = list(details)
    parents = {
        child.get("task_id") or child.get("pod_name"): detail
        for detail in details
        for child in detail.get("child_tasks") or ()
    }
    steps = []
    for detail in details:
        name = detail.get("display_name") or ""
        if name == EXECUTOR:
            parent = parents.get(detail.get("task_id")) or parents.get(detail.get("pod_name")) or {}
            name = parent.get("display_name") or name
        steps.append(
            Task(
                name=name,
                state=detail.get("state") or "PENDING",
                message=(detail.get("error") or {}).get("message") or "",
                pod=detail.get("pod_name") or "",
                started=detail.get("start_time"),
                ended=detail.get("end_time"),
                group=bool(detail.get("child_tasks")),
            )
        )
    return tuple(steps)


def shown(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """The tasks worth a line: those of ours that do work, and whatever failed on its own."""
    return tuple(
        task
        for task in tasks
        if not task.group and (not task.name.endswith(INTERNAL) or task.state == FAILED)
    )
