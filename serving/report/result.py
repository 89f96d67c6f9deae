"""One patient's result: what was answered of which case, and prediction.json as it says so."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from components.cohort.prepared import PreparedCase
from components.core.imaging.grid import Grid
from components.core.vocabulary import Origin, Status
from components.release.inference.ensemble import digest_request
from components.release.inference.request import Answer, request_tensors
from components.release.manifest import Contents
from components.release.prediction import (
    ON_PHANTOMS,
    ConformalSet,
    Inputs,
    Prediction,
    Preparation,
    Reason,
)

if TYPE_CHECKING:
    from serving.report.explanation import Explained


@dataclass(frozen=True)
class PatientResult:
    """Everything that is written and drawn of one answered patient.

    Attributes:
        answer: what the ensemble said.
        case: what it was asked about.
        contents: of the release that answered.
        prediction: prediction.json.
        explained: where the classifier looked; None unless it was asked for.
    """

    answer: Answer
    case: PreparedCase
    contents: Contents
    prediction: Prediction
    explained: Explained | None = None

    def changed(self, **fields: Any) -> PatientResult:
        """The same with other fields of prediction.json."""
        return replace(self, prediction=self.prediction.model_copy(update=fields))


def patient_result(
    answer: Answer, case: PreparedCase, contents: Contents, files: Mapping[str, str]
) -> PatientResult:
    """An answer with its prediction.json.

    Args:
        files: see components.preprocess.sequences.input_digests.
    """
    request = digest_request(request_tensors(case, contents), contents.interface)
    prediction = Prediction(
        patient_id=case.patient_id,
        status=answer.status,
        probability_idh_mutant=answer.probability,
        conformal=_conformal(answer, contents),
        slices=answer.slice_probabilities,
        slice_indices=answer.slices,
        features=answer.features,
        tumor_volume_ml=answer.tumor_ml,
        uncertainty=answer.uncertainty,
        ood=answer.ood,
        release=answer.release,
        trained_on=contents.trained_on,
        profile=contents.profile,
        inputs=Inputs(files=file_digests(files), request=request.hex()),
        preprocessing=Preparation(
            plan=contents.plan_digest, quality=case.quality, grid=_rounded(case.grid)
        ),
        warnings=(*_origin(contents), *answer.warnings, *case.warnings),
    )
    return PatientResult(answer, case, contents, prediction)


def _conformal(answer: Answer, contents: Contents) -> ConformalSet | None:
    if answer.probability is None or contents.conformal is None:
        return None
    return ConformalSet.of(contents.conformal, answer.probability)


def describe_unprepared(
    patient_id: str, reason: Reason, release: str, contents: Contents, files: Mapping[str, str]
) -> Prediction:
    """prediction.json for images of which nothing can be said.

    Args:
        reason: why.
        files: see `patient_result`.
    """
    return Prediction(
        patient_id=patient_id,
        status=Status.ABSTAIN,
        release=release,
        trained_on=contents.trained_on,
        profile=contents.profile,
        inputs=Inputs(files=file_digests(files), request=None),
        preprocessing=Preparation(plan=contents.plan_digest, quality=None),
        warnings=(*_origin(contents), reason.sentence),
        reason=reason,
    )


def _rounded(grid: Grid) -> dict[str, list[float]]:
    """To a nanometre: a grid that came as a matrix differs in its last digits."""
    return {name: [round(x, 6) for x in values] for name, values in grid.to_json().items()}


def _origin(contents: Contents) -> tuple[str, ...]:
    return (ON_PHANTOMS,) if contents.trained_on is Origin.PHANTOMS else ()


def file_digests(files: Mapping[str, str]) -> dict[str, str]:
    """A file's sha256; of a series' files (joined by commas) the sha256 of that."""
    return {
        name: hashlib.sha256(found.encode()).hexdigest() if "," in found else found
        for name, found in files.items()
    }
