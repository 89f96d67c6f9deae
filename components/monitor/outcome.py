"""How a run ended: gathered, written, and told to a webhook. Nothing here may fail a run."""

from __future__ import annotations

import json
import logging
import os
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.core.files import write_json
from components.monitor.kfp_tasks import FAILED, Task, read_tasks, shown

log = logging.getLogger(__name__)

WEBHOOK = "GLIOFLOW_WEBHOOK_URL"
"""Environment variable, from the cluster's secret: gets one POST a run. Never logged."""

TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105  (a variable's name, not a secret)
"""Environment variable: file with the token for the KFP API, where it asks for one."""

SUCCEEDED = ("SUCCEEDED", "COMPLETE")
BAD = ("FAILED", "ERROR", "CANCELED", "CANCELLED", "CANCELING")
DONE = ("SUCCEEDED", "SKIPPED", "CACHED", "OMITTED")
UNUSED = ("SKIPPED", "OMITTED", "PENDING", "")
LOOKS = ("find-new-cohorts", "judge-drift")
"""Beginnings of the names of steps that decide whether a run goes on; see pipelines.kubeflow."""

FIRST_STEP = ("make-cohorts", "cohort")
HANDLER = ("report-outcome", "outcome")
TIMEOUT_S = 10.0
LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class FailedStep:
    """A step that failed, in KFP's words."""

    step: str
    state: str
    message: str = ""
    pod: str = ""


@dataclass(frozen=True)
class Outcome:
    """How one run ended.

    Attributes:
        state: as KFP's exit handler is told: SUCCEEDED, FAILED or CANCELLED, and by some
            versions RUNNING, PENDING or nothing, which says neither.
        failed: failed steps; None where the KFP API could not be asked.
        quiet: the run ended after its first look, as most scheduled runs do: no news.
    """

    run_id: str
    run_name: str
    profile: str
    state: str
    message: str = ""
    failed: tuple[FailedStep, ...] | None = None
    quiet: bool = False

    @property
    def bad(self) -> bool:
        """Whether the run ended without its result: it was said so, or a step failed."""
        return self.state.upper() in BAD or bool(self.failed)

    @property
    def good(self) -> bool:
        """Whether every step succeeded."""
        return self.state.upper() in SUCCEEDED and not self.bad

    @property
    def worth_telling(self) -> bool:
        """Whether people should hear of it: it failed, or it did what it is for."""
        return self.bad or (self.good and not self.quiet)

    def sentence(self) -> str:
        """One line for people."""
        run = f"glioflow {self.profile}: {self.run_name}"
        if self.good:
            return f"{run} succeeded{': nothing new to train on' if self.quiet else ''}"
        if not self.bad:
            said = self.state.lower() or "nothing"
            return f"{run} ended, and KFP does not say how (state: {said})"
        steps = ", ".join(step.step for step in self.failed or ())
        state = self.state.lower() if self.state.upper() in BAD else "failed"
        return f"{run} {state}{f' in {steps}' if steps else ''}"


def ended(run_id: str, run_name: str, profile: str, api: str, state: str, message: str) -> Outcome:
    """The outcome of a run, from what the exit handler was told and what the KFP API knows.

    The run itself is still running while its exit handler asks, so its own state says nothing.
    Where the handler was not told an end, the tasks decide: one that failed, or all that are done.
    """
    tasks = _tasks(api, run_id)
    failed = None if tasks is None else _failed(tasks)
    told = state.upper() in (*SUCCEEDED, *BAD)
    others = [task for task in tasks or () if not task.name.startswith(HANDLER)]
    if not told and others and all(task.state in DONE for task in others):
        state = "SUCCEEDED"
    looked = any(task.name.startswith(LOOKS) for task in others)
    worked = any(task.name.startswith(FIRST_STEP) and task.state not in UNUSED for task in others)
    return Outcome(run_id, run_name, profile, state, message, failed, looked and not worked)


def failed_steps(api: str, run_id: str) -> tuple[FailedStep, ...] | None:
    """Failed tasks of a run by the KFP v2beta1 API; None where it cannot be asked."""
    tasks = _tasks(api, run_id)
    return None if tasks is None else _failed(tasks)


def _failed(tasks: tuple[Task, ...]) -> tuple[FailedStep, ...]:
    return tuple(
        FailedStep(task.name, task.state, task.message[:LONGEST_MESSAGE], task.pod)
        for task in tasks
        if task.state == FAILED
    )


def _tasks(api: str, run_id: str) -> tuple[Task, ...] | None:
    if not api:
        return None
    try:
        details = _ask(f"{api.rstrip('/')}/apis/v2beta1/runs/{run_id}").get("run_details") or {}
        return shown(read_tasks(details.get("task_details") or ()))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        log.warning("the KFP API cannot be asked which steps failed (%s)", error)
        return None


def _ask(url: str) -> dict[str, Any]:
    request = urllib.request.Request(url)  # noqa: S310
    token = Path(os.environ.get(TOKEN_FILE, ""))
    if token.is_file():
        request.add_header("Authorization", f"Bearer {token.read_text().strip()}")
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
        return json.load(answer)


def write(outcome: Outcome, page: Path) -> dict[str, Any]:
    """Write the page, and outcome.json beside it; returns what stands in the latter."""
    content = {**asdict(outcome), "sentence": outcome.sentence()}
    content["failed"] = [asdict(step) for step in outcome.failed or ()]
    page.parent.mkdir(parents=True, exist_ok=True)
    write_json(page.with_name("outcome.json"), content)
    page.write_text(_markdown(outcome))
    return content


def _markdown(outcome: Outcome) -> str:
    lines = [f"# {outcome.sentence()}", "", f"Run `{outcome.run_id}`"]
    if not outcome.bad:
        return "\n".join([*lines, ""])
    if outcome.failed:
        lines += ["", "| step | pod | message |", "|---|---|---|"]
        lines += [f"| {s.step} | {s.pod} | {_cell(s.message)} |" for s in outcome.failed]
    elif outcome.failed is None:
        lines += ["", "Which step failed could not be looked up; `glioflow status` tells it."]
    if outcome.message:
        lines += ["", "```", outcome.message[:LONGEST_MESSAGE], "```"]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def tell(outcome: Outcome, webhook: str) -> bool:
    """POST {"text": ...} as Slack, Mattermost and Teams read it; whether it was taken.

    Nothing is posted of a run that only looked, nor of one whose end is not known.

    Patients are not named: error messages of steps stay inside the cluster.
    """
    if not webhook or not outcome.worth_telling:
        return False
    body = json.dumps({"text": f"{outcome.sentence()} (run {outcome.run_id})"}).encode()
    try:
        request = urllib.request.Request(  # noqa: S310
            webhook, data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
            return True
    except (OSError, ValueError) as error:
        # The address is a secret, and urllib's messages may hold it.
        log.warning("the webhook did not take the message (%s)", type(error).__name__)
        return False
