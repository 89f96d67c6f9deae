"""What the child run of each pipeline step says: parameters, metrics, curves and files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.core.files import read_json
from components.core.tables import read_csv
from components.registry.run_artifacts import RunArtifacts

PARENT = "pipeline"
STEPS = (PARENT, "validate", "preprocess", "segment", "features", "classify", "evaluate", "export")
"""The parent run, and its child runs in the order of the pipeline."""

WEIGHTS = (".safetensors", ".onnx", ".data", ".npy", ".npz", ".gz")
"""Kinds of files that child runs do not repeat: weights are in the registry, images stay home."""

_KEY = re.compile(r"[^A-Za-z0-9_\-. /]+")
_PARAM_LIMIT = 500
_STEP_COLUMNS = ("epoch", "step", "iteration")


@dataclass(frozen=True)
class StepRecord:
    """One child run.

    Attributes:
        params, metrics: name -> value.
        series: (metric, value, step) of training curves.
        files: artifact path -> file on disk.
    """

    name: str
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    series: tuple[tuple[str, float, int], ...] = ()
    files: dict[str, Path] = field(default_factory=dict)


def step_records(artifacts: RunArtifacts) -> list[StepRecord]:
    """One record a step, in the order of the pipeline."""
    release = artifacts.release().model_dump(mode="json")
    plan = find_plan(artifacts)
    return [
        _validate(artifacts.validated),
        StepRecord(
            "preprocess",
            params={"plan": release["plan"], **(flat_text(read_json(plan)) if plan else {})},
            files={"plan.json": plan} if plan else {},
        ),
        _trained("segment", artifacts.segmenter),
        StepRecord(
            "features",
            metrics={"patients": float(len(read_csv(artifacts.samples / "features.csv")))},
            files={"features.csv": artifacts.samples / "features.csv"},
        ),
        _trained("classify", artifacts.classifier),
        StepRecord(
            "evaluate",
            metrics=flat_numbers(read_json(artifacts.evaluation / "evaluation.json")),
            files=_files(artifacts.evaluation),
        ),
        StepRecord(
            "export",
            params=flat_text({k: v for k, v in release.items() if k != "files"}),
            metrics=flat_numbers(release),
            files=_files(artifacts.repository),
        ),
    ]


def find_plan(artifacts: RunArtifacts) -> Path | None:
    """The preprocessing plan that travels with the model."""
    places = (artifacts.segmenter, artifacts.classifier, artifacts.repository)
    found = (file for place in places for file in sorted(place.rglob("plan.json")))
    return next(found, None)


def flat_numbers(content: Any, prefix: str = "") -> dict[str, float]:
    """Finite numbers of nested JSON as MLflow metrics: {"a": {"b": 1}} -> {"a.b": 1.0}."""
    pairs = ((key, value) for key, value in _leaves(content, prefix))
    return {
        key: float(value)
        for key, value in pairs
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def flat_text(content: Any, prefix: str = "") -> dict[str, str]:
    """Leaves of nested JSON as MLflow parameters; long texts and long lists are left out."""
    texts = {key: str(value) for key, value in _leaves(content, prefix) if value is not None}
    return {key: text for key, text in texts.items() if text and len(text) <= _PARAM_LIMIT}


def _leaves(content: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(content, dict):
        yield prefix, content
        return
    for key, value in content.items():
        name = _KEY.sub("_", str(key))
        yield from _leaves(value, f"{prefix}.{name}" if prefix else name)


def _validate(folder: Path) -> StepRecord:
    content = read_json(folder / "validation.json")
    return StepRecord(
        "validate",
        params=flat_text({"manifest_sha256": content.get("manifest_sha256")}),
        metrics=flat_numbers({k: v for k, v in content.items() if k != "reasons"}),
        # accepted.csv may carry a user's own columns; the parent run has its public form.
        files={n: file for n, file in _files(folder).items() if not n.startswith("accepted.")},
    )


def _trained(step: str, folder: Path) -> StepRecord:
    model = read_json(folder / "model.json")
    return StepRecord(
        step,
        params=flat_text(model),
        metrics=flat_numbers(model),
        series=_curves(folder / "curves.csv"),
        files=_files(folder),
    )


def _files(folder: Path) -> dict[str, Path]:
    return {
        file.relative_to(folder).as_posix(): file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix not in WEIGHTS
    }


def _curves(path: Path) -> tuple[tuple[str, float, int], ...]:
    """Points of a curves.csv: every numeric column over its epoch, a curve a member or network."""
    if not path.is_file():
        return ()
    points: list[tuple[str, float, int]] = []
    for index, row in enumerate(read_csv(path)):
        step = next((int(float(row[c])) for c in _STEP_COLUMNS if row.get(c)), index)
        numbers = {c: _number(v) for c, v in row.items() if c not in _STEP_COLUMNS}
        who = [f"{c}_{row[c]}" for c in ("member", "fold") if row.get(c)]
        who += [str(row[c]) for c, value in numbers.items() if value is None and row[c]]
        prefix = ".".join(_KEY.sub("_", part) for part in who)
        for column, value in numbers.items():
            if value is not None and column not in ("member", "fold"):
                points.append((f"{prefix}.{column}" if prefix else column, value, step))
    return tuple(points)


def _number(cell: str | None) -> float | None:
    try:
        value = float(cell or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
