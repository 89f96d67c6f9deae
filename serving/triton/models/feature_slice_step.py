"""The feature/slice step inside Triton: the code that made the training samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from components.release.inference.ensemble import ServedStep
from components.release.inference.outputs import step_tensors
from serving.triton.backend import answer_each, inputs_of


class TritonPythonModel:
    """See components.features.feature_slice.feature_slice_step."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the step's spec and atlas, and import what the first request would wait for."""
        import radiomics.shape  # noqa: F401

        self.step = ServedStep.read(Path(args["model_repository"]) / args["model_version"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run the step for each request."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Any) -> dict[str, np.ndarray]:
        tensors = inputs_of(request)
        return step_tensors(self.step.run(tensors["tumor_probability"], tensors))
