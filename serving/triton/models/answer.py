"""Last model of the ensemble: the status, the release, and one line for the audit."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from components.core.vocabulary import AGE, FEATURE_NAMES, QUANTILES, Status
from components.release.image_tensors import HEADER
from components.release.inference.outputs import abstained_tensors, final_tensors
from components.release.manifest import Contents, release_beside
from components.release.prediction import ConformalSet
from components.release.tensors import CANARY_ID, NO_NUMBER
from serving.images.case import CaseHeader
from serving.triton.backend import answer_each, inputs_of, log
from serving.triton.counters import Counters

OLDEST = 90.0
"""Years; a higher age could tell who a patient is, and is written as this."""

Tensors = dict[str, np.ndarray]


class TritonPythonModel:
    """See components.release.inference.ensemble.final_tensors."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read limits and release."""
        contents = Contents.read(Path(args["model_repository"]) / args["model_version"])
        self.sequences = [sequence.value for sequence in contents.interface.sequences]
        self.limits, self.conformal = contents.limits, contents.conformal
        self.release = release_beside(Path(args["model_repository"]))
        self.counters = Counters(self.release)
        self.audit = os.environ.get("GLIOFLOW_AUDIT", "")

    def finalize(self) -> None:
        """Give the counters back: those that outlive the model end its process by a fault."""
        del self.counters

    def execute(self, requests: list[Any]) -> list[Any]:
        """Finish each request."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Any) -> Tensors:
        tensors = inputs_of(request)
        header = CaseHeader.read(tensors) if HEADER.name in tensors else None
        if header is not None and header.abstains:
            final = abstained_tensors(header.abstains.sentence, self.release)
        else:
            final = final_tensors(tensors, self.limits, self.release)
        self._record(request.request_id(), tensors, final, header)
        canary = request.request_id() == CANARY_ID or (header is not None and header.canary)
        if not canary:
            self.counters.count(final)
        return final

    def _record(
        self, request_id: str, tensors: Tensors, final: Tensors, header: CaseHeader | None
    ) -> None:
        """One JSON line: who asked what of which release, and what it said; no identity."""
        numbers = {
            name: _number(final[name][0])
            for name in ("probability_idh_mutant", "uncertainty", "ood")
        }
        prepared = header is None or not header.abstains
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "request_id": CANARY_ID if header is not None and header.canary else request_id,
            "release": self.release,
            "input_sha256": tensors["input_digest"].tobytes().hex() if prepared else None,
            "status": list(Status)[int(final["status"][0])].value,
            **numbers,
            "conformal": self._conformal(float(final["probability_idh_mutant"][0])),
            "features": _features(tensors["features"], prepared),
            "intensities": self._intensities(tensors["intensities"], prepared),
        }
        if header is not None:
            entry["files_sha256"] = header.files
        line = json.dumps(entry)
        log(f"prediction {line}")
        if self.audit:
            # One write of one line in append mode: lines of several instances never interleave.
            with Path(self.audit).open("a") as stream:
                stream.write(line + "\n")

    def _conformal(self, probability: float) -> dict[str, Any] | None:
        """None without a probability, and of a release that makes no sets."""
        if probability == NO_NUMBER or self.conformal is None:
            return None
        return ConformalSet.of(self.conformal, probability).model_dump(mode="json")

    def _intensities(self, measured: np.ndarray, prepared: bool) -> dict[str, float | None]:
        """ "t1c low" -> z-score, and so on."""
        return {
            f"{sequence} {quantile}": round(float(value), 6) if prepared else None
            for sequence, row in zip(self.sequences, measured, strict=True)
            for quantile, value in zip(QUANTILES, row, strict=True)
        }


def _features(found: np.ndarray, prepared: bool) -> dict[str, float | None]:
    values = [_number(value) if prepared else None for value in found]
    features = dict(zip(FEATURE_NAMES, values, strict=True))
    age = features[AGE]
    if age is not None:
        features[AGE] = min(age, OLDEST)
    return features


def _number(value: float) -> float | None:
    """As JSON has it, to 6 decimals."""
    return None if value == NO_NUMBER else round(float(value), 6)
