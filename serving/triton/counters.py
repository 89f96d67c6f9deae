"""What the answers said, counted for Prometheus beside Triton's own metrics.

Importable inside the server only.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import triton_python_backend_utils as pb_utils

from components.core.vocabulary import Status

ANSWERS = "glioflow_answers"
"""Answers, by status and release."""

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
            if np.isfinite(value):
                total.increment(value)


def _family(name: str, description: str) -> pb_utils.MetricFamily:
    return pb_utils.MetricFamily(
        name=name, description=description, kind=pb_utils.MetricFamily.COUNTER
    )
