"""Training of all members: one after the other, or several side by side on a CPU."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from functools import partial
from multiprocessing import get_context
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import torch

from components.core.files import atomic
from components.core.progress import Progress
from components.segment.data.sampling import (
    MemberCases,
    development_cases,
    plan_segmenter_members,
)
from components.segment.settings import SegmentSettings
from components.segment.training.member import BEST, MemberTraining
from components.segment.training.processes import Process

Points = list[dict[str, Any]]
"""Rows of curves.csv."""

_POLL_S = 1.0
_done: Synchronized[int]


def prepare_torch(settings: SegmentSettings) -> None:
    """Threads and rounding of this process, on which a repeatable run depends."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)


def train_members(
    members: list[MemberCases],
    prepared: list[Path],
    settings: SegmentSettings,
    process: Process,
    folder: Path,
    out: Path,
    progress: Progress,
) -> Points:
    """Train all members into `out`/member_<k>.safetensors; the weights do not depend on how many
    are trained at once.

    Args:
        prepared: where the members' cases come from; processes of their own read them again.
        folder: where their checkpoints are kept meanwhile.

    Raises:
        BadInput: as `MemberTraining.run`; members that are under way stop, and can be resumed.
    """
    at_once = min(settings.members_at_once, len(members))
    if at_once > 1 and process.world == 1 and process.device.type == "cpu":
        train = partial(_train_alone, prepared=prepared, settings=settings, folder=folder, out=out)
        return _side_by_side(train, len(members), at_once, settings.steps, progress)
    points: Points = []
    for member in members:
        report = _overall(progress, member, members, settings)
        points += train_member(MemberTraining(member, settings, process, folder), out, report)
    return points


def train_member(training: MemberTraining, out: Path, progress: Progress) -> Points:
    """Train one member and keep its averaged weights; returns its learning curve."""
    training.run(progress)
    member = training.member
    target = out / f"{member.name}.safetensors"
    if training.process.leads:
        if member.fold is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic(target) as temporary:
                shutil.copyfile(training.folder / BEST, temporary)
        else:
            training.save_weights(target)
    return training.state.points


def _overall(
    progress: Progress,
    member: MemberCases,
    members: list[MemberCases],
    settings: SegmentSettings,
) -> Progress:
    steps = settings.steps
    return lambda done, _, what: progress(member.index * steps + done, len(members) * steps, what)


def _side_by_side(
    train: Callable[[int], Points],
    members: int,
    at_once: int,
    steps: int,
    progress: Progress,
) -> Points:
    context = get_context("spawn")
    done = context.Value("q", 0)
    total = members * steps
    with ProcessPoolExecutor(at_once, context, _share, (done,)) as pool:
        runs = [pool.submit(train, index) for index in range(members)]
        try:
            pending: set[Future[Points]] = set(runs)
            while pending:
                ended, pending = wait(pending, _POLL_S, FIRST_EXCEPTION)
                for run in ended:
                    run.result()
                what = f"segmenter, {at_once} of {members} members at once"
                progress(min(done.value, total), total, what)
        except BaseException:
            # A member under way would go on for hours; its last checkpoint stays.
            for child in list(pool._processes.values()):
                child.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [point for run in runs for point in run.result()]


def _share(done: Synchronized[int]) -> None:
    global _done
    _done = done


def _train_alone(
    index: int, prepared: list[Path], settings: SegmentSettings, folder: Path, out: Path
) -> Points:
    prepare_torch(settings)
    member = plan_segmenter_members(development_cases(prepared, settings))[index]
    before, parent = 0, os.getppid()

    def count(done: int, total: int, what: str) -> None:
        nonlocal before
        if os.getppid() != parent:
            # The run was killed: nobody waits for this member, and it may be started again.
            os._exit(1)
        with _done.get_lock():
            _done.value += done - before
        before = done

    alone = Process(0, 1, torch.device("cpu"))
    return train_member(MemberTraining(member, settings, alone, folder), out, count)
