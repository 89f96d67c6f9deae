"""First model for clients that send image files: the code that prepared the training patients."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from components.release.image_tensors import BRAIN_MASK
from components.release.inference.ensemble import check_age
from components.release.manifest import Contents, release_beside
from components.release.settings import RequestLimits
from components.release.tensors import AGE_YEARS
from serving.images.case import CANARY, canary_tensors, case_tensors
from serving.images.preparer import PreparationFailed, Preparer
from serving.triton.backend import Trouble, answer_each, config_of, parameter
from serving.triton.bytes_tensors import bytes_of, install
from serving.triton.counters import PrepareCounters

install()


class TritonPythonModel:
    """See serving.images.preparer.Preparer."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the plan, and start the process that requests are prepared in copies of."""
        folder = Path(args["model_repository"])
        self.contents = Contents.read(folder / args["model_version"])
        limits = RequestLimits.model_validate_json(parameter(config_of(args), "limits", "{}"))
        self.preparer = Preparer(self.contents.plan, limits)
        self.counters = PrepareCounters(release_beside(folder), args["model_name"])

    def finalize(self) -> None:
        """End that process, and give the counters back, as `answer` does."""
        self.preparer.close()
        del self.counters

    def execute(self, requests: list[Any]) -> list[Any]:
        """Prepare each request."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Any) -> dict[str, np.ndarray]:
        sent, age = _inputs(request)
        if all(content == CANARY.encode() for content in sent.values()):
            return self._canary()
        check_age(age)
        began = time.monotonic()
        self.counters.begin()
        try:
            return case_tensors(self.preparer.prepare(sent, age), self.contents)
        except PreparationFailed as error:
            raise Trouble(str(error)) from None
        finally:
            self.counters.end(time.monotonic() - began)

    def _canary(self) -> dict[str, np.ndarray]:
        try:
            self.preparer.rehearse()
        except PreparationFailed as error:
            raise Trouble(str(error)) from None
        return canary_tensors(self.contents)


def _inputs(request: Any) -> tuple[dict[str, bytes], float]:
    sent, age = {}, float("nan")
    for tensor in request.inputs():
        name = tensor.name()
        if name == AGE_YEARS.name:
            age = float(np.from_dlpack(tensor).reshape(-1)[0])
        else:
            sent[name] = bytes_of(tensor)
    if not sent.get(BRAIN_MASK.name, b"x"):
        del sent[BRAIN_MASK.name]
    return sent, age
