"""The whole pipeline on this machine: the same KFP graph, run by KFP's own local runner."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from components.cohort.image_state import look_at_images
from components.cohort.manifest import read_table
from components.core.errors import BadInput, StepFailed
from components.core.files import read_json, require_folder, write_json
from components.core.progress import PROGRESS_FILE
from components.core.s3 import is_remote
from components.core.vocabulary import DEVELOPMENT, Split
from pipelines.check import check_run
from pipelines.profile import Profile
from pipelines.summary import RunSummary, summarise
from pipelines.version import code_digest, run_info

log = logging.getLogger(__name__)

COHORT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
RESERVED_NAMES = tuple(split.value for split in Split)

_BAD_INPUT = re.compile(
    r"components\.[\w.]+\.(?:BadInput|Outage|Implausible|StoreUnreachable): (.*)"
)
"""How a traceback ends that says: mend the input, or what is outside."""

_REASON = re.compile(r"^(?:\w+\.)*(\w*(?:Error|Exception|Interrupt|Killed)\w*: .+)$", re.MULTILINE)
"""Last line of a Python traceback."""

_TRACEBACK = "Traceback (most recent call last):"
_OURS = re.compile(r'File "[^"]*/(?:components|serving)/')

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_POLL_S = 0.25


@dataclass(frozen=True)
class Event:
    """One progress report of a step; parallel parts of a step differ in `pid`."""

    step: str
    pid: int
    done: int
    total: int
    what: str


def check_cohorts(cohorts: Mapping[str, str], *, read: bool = True) -> str:
    """The pipeline's `cohorts` parameter: JSON list of {name, manifest, sha256}.

    Args:
        read: read the manifests now; on a cluster only the pods may be allowed to.

    Raises:
        BadInput: an unusable or reserved name, no development cohort, or an unreadable manifest.
    """
    entries = []
    for name, manifest in cohorts.items():
        if not COHORT_NAME.fullmatch(name) or name in RESERVED_NAMES:
            raise BadInput(
                f"--cohort {name}={manifest}",
                f"'{name}' cannot name a cohort",
                f"use lower-case letters, digits, '-' and '_', not {', '.join(RESERVED_NAMES)}",
            )
        digest = read_table(manifest).sha256 if read else ""
        path = manifest if is_remote(manifest) else str(Path(manifest).resolve())
        entries.append({"name": name, "manifest": path, "sha256": digest})
    if entries and DEVELOPMENT not in cohorts:
        raise BadInput(
            "--cohort", f"no cohort is named '{DEVELOPMENT}'", "add --cohort development=MANIFEST"
        )
    return json.dumps(entries)


def run(
    profile: Profile,
    cohorts: Mapping[str, str],
    out: Path,
    *,
    tracking_uri: str | None = None,
    approve: str | None = None,
    watch: Callable[[Event], None] = lambda event: None,
) -> RunSummary:
    """Run the whole pipeline below `out` and return what `out`/summary.json holds.

    Finished steps whose inputs, settings and code are unchanged are reused. `out` gets links to
    every artifact of the run under a stable name.

    Raises:
        BadInput: the input is at fault; nothing new is left in `out` but the log.
        StepFailed: a step of ours failed.
    """
    entries = check_cohorts(cohorts)
    arguments = {
        "code_version": code_digest(),
        "run_info": run_info(profile, approve, {}),
        "tracking_uri": tracking_uri or f"sqlite:///{(out / 'mlflow' / 'mlflow.db').resolve()}",
    }
    require_folder(out)
    # Without the networks: exporting them takes longer than the smallest runs' training.
    check_run(profile, cohorts, out, networks=False)
    out.mkdir(parents=True, exist_ok=True)
    with _only_run(out):
        arguments["cohorts"] = with_images(entries, cohorts, out / ".run" / "images.json")
        request = {
            "profile": profile.model_dump(mode="json"),
            "pipeline_root": str((out / "kfp").resolve()),
            "arguments": arguments,
        }
        outputs = _execute(out, request, watch)
        for name, path in outputs.items():
            _link(out / name, Path(path))
        # KFP's own artifact has no suffix, and browsers show such a file as text.
        _link(out / "report.html", Path(outputs["evaluation"]) / "report.html")
        summary = summarise(profile, {name: Path(path) for name, path in outputs.items()})
        write_json(out / "summary.json", summary.content())
    return summary


def with_images(entries: str, cohorts: Mapping[str, str], memory: Path | None = None) -> str:
    """The `cohorts` parameter with a digest of all images: steps are not reused when one changed.

    Args:
        entries: what `check_cohorts` returns.
        cohorts: name -> manifest.
        memory: JSON file with the last look, if any; images that changed since are logged.
    """
    if not cohorts:
        return entries
    state = look_at_images([read_table(manifest) for manifest in cohorts.values()], memory)
    for path in state.changed:
        log.warning("%s changed since the last run: its patients are prepared again", path)
    return json.dumps([{**entry, "images": state.sha256} for entry in json.loads(entries)])


@contextmanager
def _only_run(out: Path) -> Iterator[None]:
    try:
        with FileLock(out / ".lock", blocking=False):
            yield
    except Timeout:
        raise BadInput(
            out, "another run is writing here", "wait for it, or give another --out"
        ) from None


def _execute(out: Path, request: dict[str, Any], watch: Callable[[Event], None]) -> dict[str, str]:
    state = out / ".run"
    state.mkdir(exist_ok=True)
    request_file, outputs_file = state / "request.json", state / "outputs.json"
    progress, log = state / "progress.jsonl", out / "run.log"
    outputs_file.unlink(missing_ok=True)
    progress.write_text("")
    write_json(request_file, request)
    environment = {
        "GLIOFLOW_CHECKPOINTS": str((out / "checkpoints").resolve()),
        **os.environ,
        PROGRESS_FILE: str(progress.resolve()),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "pipelines.worker", str(request_file), str(outputs_file)]
    with log.open("w") as stream, _child(command, environment, stream) as child:
        follow = _Follower(progress, watch)
        while child.poll() is None:
            follow.read()
            time.sleep(_POLL_S)
        follow.read()
    if child.returncode != 0 or not outputs_file.is_file():
        raise _failure(log, progress)
    return read_json(outputs_file)


@contextmanager
def _child(
    command: list[str], environment: dict[str, str], stream: Any
) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(
        command, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            # The steps are grandchildren: the whole group must go, or they would write on.
            os.killpg(child.pid, signal.SIGTERM)
            child.wait()


class _Follower:
    """Reads the progress file as it grows."""

    def __init__(self, path: Path, watch: Callable[[Event], None]) -> None:
        self.path, self.watch, self.offset = path, watch, 0

    def read(self) -> None:
        with self.path.open() as stream:
            stream.seek(self.offset)
            for line in iter(stream.readline, ""):
                if not line.endswith("\n"):
                    break
                self.offset = stream.tell()
                self.watch(Event(**json.loads(line)))


def _failure(log: Path, progress: Path) -> Exception:
    text = _ANSI.sub("", log.read_text(errors="replace"))
    found = _BAD_INPUT.findall(text)
    if found:
        subject, _, rest = found[-1].partition(": ")
        problem, _, remedy = rest.rpartition("; ")
        return BadInput(subject, problem, remedy)
    begun = [json.loads(line)["step"] for line in progress.read_text().splitlines() if line]
    step = f"step {begun[-1]}" if begun else "the first step"
    return StepFailed(f"{step} failed{_reason(text)}; the traceback is in {log}")


def _reason(text: str) -> str:
    """Last line of the last traceback that passes through our code, of a log; "" without one."""
    for block in reversed(text.split(_TRACEBACK)):
        found = _REASON.search(block) if _OURS.search(block) else None
        if found:
            return f": {found[1]}"
    return ""


def _link(link: Path, target: Path) -> None:
    if link.is_symlink():
        link.unlink()
    link.symlink_to(os.path.relpath(target.resolve(), link.parent.resolve()))
