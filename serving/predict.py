"""One patient from image files to an answer on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from components.cohort.images import is_dicom
from components.cohort.manifest import AGE_YEARS, PATIENT_ID, Patient
from components.core.errors import BadInput, Implausible
from components.core.files import require_folder
from components.core.s3 import local_copy
from components.preprocess.sequences import input_digests, refuse_changed
from components.release.inference.request import Answer, canary_request, request_tensors
from components.release.manifest import Contents
from serving.report.files import write_answer
from serving.report.result import patient_result


def check_patient_id(patient_id: str) -> None:
    """Refuse an id that no manifest would hold. Raises BadInput."""
    if not PATIENT_ID.fullmatch(patient_id):
        remedy = "use letters, digits, '.', '_' and '-'; a pseudonym, not a name"
        raise BadInput("--patient-id", f"'{patient_id}' cannot be written", remedy)


@dataclass(frozen=True)
class PatientFiles:
    """What a caller has of a patient.

    Attributes:
        t1c, t2, flair: NIfTI file or folder of one DICOM series; None where there is none.
        age: years.
        patient_id: written into the answer.
    """

    t1c: Path | None
    t2: Path | None
    flair: Path | None
    age: float
    patient_id: str = "unnamed"

    def as_patient(self, contents: Contents) -> Patient:
        """The manifest row that a release prepares.

        Raises BadInput: an id or age that no manifest would hold, or a sequence the release needs.
        """
        check_patient_id(self.patient_id)
        low, high = AGE_YEARS
        if not low <= self.age <= high:
            raise BadInput(
                "--age", f"{self.age:g} is out of range", f"give years, {low:g} to {high:g}"
            )
        files = {"t1c": self.t1c, "t2": self.t2, "flair": self.flair}
        for sequence in contents.plan.sequences:
            if files[sequence.value] is None:
                raise BadInput(
                    f"--{sequence.value}", "this release needs that sequence", "give its file"
                )
        paths = {name: str(path) if path else None for name, path in files.items()}
        return Patient(patient_id=self.patient_id, site="", age=self.age, **paths)  # type: ignore[arg-type]


class Answering(Protocol):
    """A release that answers: over gRPC, or in this process."""

    def contents(self) -> Contents:
        """What the release expects."""
        ...

    def ask(self, tensors: Mapping[str, np.ndarray]) -> Answer:
        """Answer for one patient's tensors."""
        ...


def predict_patient(
    release: Answering,
    patient: PatientFiles,
    out: Path,
    *,
    explain: Path | None = None,
    accept_implausible: bool = False,
) -> dict[str, Any]:
    """Prepare a patient by the release's plan, ask it, write the answer once it is whole.

    Args:
        release: LocalRelease, or a Client of a server.
        out: folder; gets what `serving.report.files.write_answer` writes.
        explain: folder of the classifier that the release was exported from, or of its run; adds
            explanation.png, its saliency to the page, and to the answer where the saliency lies.
        accept_implausible: predict where a limit of components.preprocess.quality.plausibility is
            broken, with a warning; by default such a patient is abstained on.

    Returns:
        The content of prediction.json.

    Raises:
        BadInput: an image, the age, `out` or `explain` cannot be used.
        ServerTrouble: the server is at fault.
    """
    require_folder(out)
    row = patient.as_patient(release.contents())
    return answer_patient(release, row, out, explain=explain, accept_implausible=accept_implausible)


def answer_patient(
    release: Answering,
    patient: Patient,
    out: Path,
    *,
    explain: Path | None = None,
    accept_implausible: bool = False,
) -> dict[str, Any]:
    """Like `predict_patient`, for a manifest's row."""
    from components.preprocess.cohort import prepare_patient
    from serving.report.abstention import write_abstention

    contents = release.contents()
    files = input_digests(patient, contents.plan.sequences)
    try:
        case = prepare_patient(patient, contents.plan, accept_implausible=accept_implausible)
    except Implausible as error:
        served = release.ask(canary_request(contents)).release
        return write_abstention(
            out, patient.patient_id, served, contents, error, files, series=_series(patient)
        ).content()
    refuse_changed(patient, contents.plan.sequences, files)
    answer = release.ask(request_tensors(case, contents))
    result = patient_result(answer, case, contents, files)
    return write_answer(out, result, series=_series(patient), explain=explain).content()


def _series(patient: Patient) -> Path | None:
    """Where the T1C lies on disk, if it is DICOM."""
    assert patient.t1c is not None  # every plan holds T1C
    path = local_copy(patient.t1c)
    return path if is_dicom(path) else None
