"""What Triton counts, read from its Prometheus page."""

from __future__ import annotations

import re
import urllib.request
from collections import defaultdict
from dataclasses import dataclass

from components.release.tensors import PREPARED_STEPS, Step

_LINE = re.compile(r"^(?P<name>\w+)\{(?P<labels>.*)\} (?P<value>\S+)$")
_MODEL = re.compile(r'model="(?P<model>[^"]*)"')
TIMEOUT_S = 5.0

SUCCESS = "nv_inference_request_success"
FAILURE = "nv_inference_request_failure"
PENDING = "nv_inference_pending_request_count"
EXECUTIONS = "nv_inference_exec_count"
COMPUTE_US = "nv_inference_compute_infer_duration_us"
PREPARING = "glioflow_preparing"
"""Requests of image files that are being prepared: Triton counts only those that ended."""


def read_metrics(address: str) -> dict[str, dict[str, float]]:
    """Metric name -> model ("" for what belongs to none) -> sum over its other labels.

    Raises OSError: the server does not answer.
    """
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=TIMEOUT_S) as reply:
        lines = reply.read().decode().splitlines()
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for line in lines:
        parts = _LINE.match(line)
        if parts:
            model = _MODEL.search(parts["labels"])
            found[parts["name"]][model["model"] if model else ""] += float(parts["value"])
    return found


@dataclass(frozen=True)
class Activity:
    """What the models are doing.

    Attributes:
        inside: requests that passed the first model and have no end counted yet.
        pending: requests in a model's queue.
        ended: executions that ended, well or not, in any model since the server began.
        longest_s: the slowest model's mean computation; None before each model has computed.
    """

    inside: int
    pending: int
    ended: int
    longest_s: float | None


IDLE = Activity(0, 0, 0, None)


def read_activity(address: str, suffix: str = "") -> Activity:
    """What the ensemble's models are doing; IDLE when the server does not answer.

    Args:
        suffix: of one release's models (see Release.suffix); empty: of all.

    Triton counts what ended, not what is under way: what passed the first model and neither came
    out of the last nor failed in between is still inside. What left another way (its client went
    away, or a model's full queue refused it) has no end counted and stays inside for good.
    """
    try:
        metrics = read_metrics(address)
    except OSError:
        return IDLE

    def count(metric: str, step: Step) -> float:
        return _of(metrics[metric], step, suffix)

    entered = count(SUCCESS, Step.CHECK) + count(PENDING, Step.CHECK)
    failed = sum(count(FAILURE, step) for step in PREPARED_STEPS if step is not Step.CHECK)
    means = [
        count(COMPUTE_US, step) / max(count(EXECUTIONS, step), 1.0) / 1e6 for step in PREPARED_STEPS
    ]
    around = count(PENDING, Step.PREPARE) + count(PREPARING, Step.PREPARE)
    around += count(PENDING, Step.FINISH)
    return Activity(
        inside=max(round(entered - failed - count(SUCCESS, Step.ANSWER)), 0) + round(around),
        pending=round(sum(count(PENDING, step) for step in Step)),
        ended=round(sum(count(metric, step) for metric in (SUCCESS, FAILURE) for step in Step)),
        longest_s=max(means) if all(means) else None,
    )


def _of(by_model: dict[str, float], step: Step, suffix: str) -> float:
    """Sum over the models of one step, of one release or of all."""
    return sum(
        value
        for model, value in by_model.items()
        if model.rpartition("_")[0] == step.value and model.endswith(suffix)
    )
