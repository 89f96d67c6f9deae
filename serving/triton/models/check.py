"""First model of the ensemble: refuses bad input, stacks the segmenter's channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from components.release.inference.ensemble import (
    check_request,
    digest_request,
    measure_intensities,
    stack_channels,
)
from components.release.manifest import Contents
from serving.triton.backend import answer_each, inputs_of


class TritonPythonModel:
    """See components.release.inference.ensemble.check_request."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read what the release expects."""
        folder = Path(args["model_repository"]) / args["model_version"]
        contents = Contents.read(folder)
        self.interface, self.plan_digest = contents.interface, contents.plan_digest

    def execute(self, requests: list[Any]) -> list[Any]:
        """Check each request."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Any) -> dict[str, np.ndarray]:
        tensors = inputs_of(request)
        check_request(tensors, self.interface, self.plan_digest)
        return {
            "volumes": stack_channels(tensors, self.interface),
            "input_digest": np.frombuffer(digest_request(tensors, self.interface), np.uint8),
            "intensities": measure_intensities(tensors, self.interface),
        }
