"""Training of the segmenter: all members, resumably, then the threshold, then the model folder."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.cohort.prepared import PreparedCase
from components.core.files import atomic, read_json, sha256_file, write_json
from components.core.progress import Progress, silent
from components.core.tables import write_records
from components.core.vocabulary import CLIP_SD, Origin
from components.segment.data.sampling import MemberCases, development_cases, plan_segmenter_members
from components.segment.evaluation.metrics import Summary
from components.segment.evaluation.threshold import (
    Row,
    best_threshold,
    cross_fitted_thresholds,
    evaluate_members,
    predict_held_out,
)
from components.segment.inference.mask import MaskRule
from components.segment.inference.segmenter import (
    MODEL_FILE,
    Segmenter,
    architecture_of,
    load_member,
)
from components.segment.network.unet import parameter_count
from components.segment.settings import SegmentSettings
from components.segment.training.members import Points, prepare_torch, train_members
from components.segment.training.processes import joined
from components.segment.training.state import SegmenterCurvePoint, run_digest

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"


def train_segmenter(
    prepared: Iterable[Path],
    settings: SegmentSettings,
    out: Path,
    *,
    checkpoints: Path | None = None,
    progress: Progress = silent,
) -> None:
    """Train every member on the development cases of the prepared sets; write the model to `out`.

    A killed run continues from its last checkpoint when called again with the same arguments; on
    CPU the result is bitwise the same as without the interruption. Under torchrun the processes
    share each batch, and the first one writes.

    Writes model.json, member_<k>.safetensors, curves.csv (learning curves) and tuning.csv (one row
    a held-out case).

    Args:
        checkpoints: folder that outlives this process, where each run keeps its checkpoints in a
            folder of its own until it is done; inside `out` unless given.
        progress: called with (steps done, steps in all, what) after every step.

    Raises:
        BadInput: unusable cases, settings or checkpoints; see `development_cases`,
            `plan_segmenter_members` and `MemberTraining.run`.
    """
    prepare_torch(settings)
    folders = list(prepared)
    with joined(settings) as process:
        cases = development_cases(folders, settings)
        members = plan_segmenter_members(cases)
        folder = out / CHECKPOINTS
        if checkpoints is not None:
            folder = checkpoints / run_digest(members[0], settings)[:16]
        points = train_members(members, folders, settings, process, folder, out, progress)
        if process.leads:
            write_segmenter(cases, members, settings, out, points)
            shutil.rmtree(folder, ignore_errors=True)
        process.wait()


def write_segmenter_outputs(model: Path, curves: Path, metrics: Path) -> dict[str, float]:
    """Copy the learning curves and write the held-out numbers (JSON) where a pipeline wants them.

    Returns the numbers by name.
    """
    content = read_json(model / MODEL_FILE)
    summary = {f"tuning_dice_{k}": v for k, v in content["tuning_dice"].items() if v is not None}
    numbers = {"threshold": content["threshold"], **summary}
    with atomic(curves) as temporary:
        shutil.copyfile(model / "curves.csv", temporary)
    write_json(metrics, numbers)
    return numbers


def write_segmenter(
    cases: list[PreparedCase],
    members: list[MemberCases],
    settings: SegmentSettings,
    out: Path,
    points: Points,
) -> None:
    """Choose the threshold on held-out predictions, measure, and write what is not weights.

    Args:
        cases: of all members.
        out: holds the members' weights; gets curves.csv, tuning.csv and model.json.
        points: rows of curves.csv.
    """
    write_records(out / "curves.csv", SegmenterCurvePoint, points)
    segmenter = _assemble(cases, members, settings, out)
    held_out = [
        one
        for member in members
        for one in predict_held_out(segmenter, member.index, member.held_out)
    ]
    doubt = settings.doubt
    threshold = best_threshold([one.curve_with(doubt) for one in held_out])
    reported = cross_fitted_thresholds(held_out, doubt)
    rows = [evaluate_members(one, _rule(reported[one.member], settings)) for one in held_out]
    write_records(out / "tuning.csv", Row, [asdict(row) for row in rows])
    described = [_describe_member(member, rows, out) for member in members]
    content = {
        **segmenter.description,
        "threshold": threshold,
        "members": described,
        "tuning_dice": asdict(Summary.of([row.dice for row in rows])),
        "parameters": parameter_count(segmenter.networks[0]),
        "settings": settings.model_dump(mode="json"),
    }
    write_json(out / MODEL_FILE, content)
    log.info("segmenter: held-out Dice %s at threshold %.2f", content["tuning_dice"], threshold)


def _assemble(
    cases: list[PreparedCase], members: list[MemberCases], settings: SegmentSettings, out: Path
) -> Segmenter:
    """The trained members as a Segmenter whose threshold is not yet chosen."""
    architecture = architecture_of(len(settings.inputs), settings.network)
    origins = {case.origin for case in cases}
    description: dict[str, Any] = {
        "architecture": architecture,
        "inputs": [sequence.value for sequence in settings.inputs],
        "clip": CLIP_SD,
        "min_ml": settings.min_ml,
        "doubt": settings.doubt,
        "flips": settings.flips,
        "folds": len(members),
        "grid": cases[0].grid.size[0],
        "plan_digest": cases[0].plan_digest,
        # One phantom among the cases is enough: such a model must never pass for a clinical one.
        "trained_on": (Origin.PHANTOMS if Origin.PHANTOMS in origins else Origin.PATIENTS).value,
    }
    networks = tuple(
        load_member(out / f"{member.name}.safetensors", architecture, settings.network, None)
        for member in members
    )
    return Segmenter(
        inputs=settings.inputs,
        rule=_rule(0.5, settings),
        flips=settings.flips,
        grid=description["grid"],
        trained_on=Origin(description["trained_on"]),
        plan_digest=cases[0].plan_digest,
        networks=networks,
        description=description,
    )


def _rule(threshold: float, settings: SegmentSettings) -> MaskRule:
    return MaskRule(threshold, settings.min_ml, settings.doubt)


def _describe_member(member: MemberCases, rows: list[Row], out: Path) -> dict[str, Any]:
    file = out / f"{member.name}.safetensors"
    return {
        "file": file.name,
        "sha256": sha256_file(file),
        "fold": member.fold,
        "training_patients": sorted(case.patient_id for case in member.training),
        "held_out_patients": sorted(case.patient_id for case in member.held_out),
        "dice": asdict(Summary.of([row.dice for row in rows if row.member == member.index])),
    }
