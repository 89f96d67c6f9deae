"""What the answers said, counted for Prometheus beside Triton's own metrics.

Importable inside the server only.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import triton_python_backend_utils as pb_utils

from components.core.vocabulary import Status
from components.release.tensors import NO_NUMBER
from serving.triton.metrics import PREPARING

ANSWERS = "glioflow_answers"
"""Answers, by status and release."""

PREPARE_SECONDS = "glioflow_prepare_seconds"

SUMMED = {"probability_idh_mutant": "glioflow_probability_sum", "ood": "glioflow_ood_sum"}
"""Output -> its sum over all answers with a tumour: divided by their number, the mean."""


class Counters:
    """Counters of one release; Triton drops them when its models are unloaded."""

    def __init__(self, release: str) -> None:
        self._families = [_family(ANSWERS, "Answers, by status")]
        answers = self._families[0]
        self._answers = [
            answers.Metric(labels={"release": release, "status": status.value}) for status in Status
        ]
        self._sums = {}
        for output, name in SUMMED.items():
            family = _family(name, f"Sum of {output} over the answers with a tumour")
            self._families.append(family)
            self._sums[output] = family.Metric(labels={"release": release})

    def count(self, final: Mapping[str, np.ndarray]) -> None:
        """Count one answer: the last model's outputs."""
        self._answers[int(final["status"][0])].increment(1)
        for output, total in self._sums.items():
            value = float(final[output][0])
            if value != NO_NUMBER:
                total.increment(value)


class PrepareCounters:
    """How long preparations took, and how many are under way."""

    def __init__(self, release: str, model: str) -> None:
        told = {
            f"{PREPARE_SECONDS}_sum": "Seconds of all preparations",
            f"{PREPARE_SECONDS}_count": "Preparations that ended, well or not",
        }
        self._families = [_family(name, said) for name, said in told.items()]
        self._families.append(_family(PREPARING, "Preparations under way", gauge=True))
        labels = {"release": release, "model": model}
        self._seconds, self._count, self._inside = (
            family.Metric(labels=labels) for family in self._families
        )

    def begin(self) -> None:
        """A preparation begins."""
        self._inside.increment(1)

    def end(self, seconds: float) -> None:
        """It has ended."""
        self._inside.increment(-1)
        self._seconds.increment(seconds)
        self._count.increment(1)


def _family(name: str, description: str, *, gauge: bool = False) -> pb_utils.MetricFamily:
    kinds = pb_utils.MetricFamily
    kind = kinds.GAUGE if gauge else kinds.COUNTER
    return pb_utils.MetricFamily(name=name, description=description, kind=kind)
