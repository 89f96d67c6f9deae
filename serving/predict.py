"""One patient from image files to an answer on disk: prediction.json, a mask, a picture."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from components.cohort.errors import BadInput
from components.cohort.files import write_json
from components.cohort.images import write_image
from components.cohort.manifest import AGE_YEARS, PATIENT_ID, Patient
from components.cohort.prepared import PreparedCase
from components.cohort.vocabulary import Origin, Status
from serving.client import Access, Client
from serving.contents import Contents
from serving.request import Answer, request_tensors

PREDICTION_FILE = "prediction.json"
MASK_FILE = "tumor_mask.nii.gz"
PICTURE_FILE = "prediction.png"
EXPLANATION_FILE = "explanation.png"

ON_PHANTOMS = "trained on phantoms: the probability says nothing about a patient"
RESEARCH_USE = "research use only; not a medical device"


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
    patient_id: str = "patient"

    def as_patient(self, contents: Contents) -> Patient:
        """The manifest row that a release prepares.

        Raises:
            BadInput: an id or age that no manifest would hold, or a sequence the release needs.
        """
        if not PATIENT_ID.fullmatch(self.patient_id):
            remedy = "use letters, digits, '.', '_' and '-'; a pseudonym, not a name"
            raise BadInput("--patient-id", f"'{self.patient_id}' cannot be written", remedy)
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
    patient: PatientFiles,
    *,
    server: str,
    out: Path,
    access: Access | None = None,
    explain: Path | None = None,
) -> dict[str, Any]:
    """Prepare a patient by the served release's plan, ask the server, write the answer.

    Args:
        server: HOST:PORT of Triton's gRPC interface.
        out: folder; gets prediction.json, tumor_mask.nii.gz on the T1C's own grid, prediction.png.
        explain: folder of the classifier that the release was exported from, or of its run; adds
            explanation.png, and to the answer where the saliency lies.

    Returns:
        The content of prediction.json.

    Raises:
        BadInput: see `predict_with`; or no server of ours answers there.
        ServerTrouble: the server is at fault.
    """
    with Client(server, access=access) as client:
        return predict_with(client, patient, out, explain=explain)


def predict_with(
    release: Answering, patient: PatientFiles, out: Path, *, explain: Path | None = None
) -> dict[str, Any]:
    """Prepare, ask and write; nothing is written before the answer is whole.

    Raises:
        BadInput: an image, the age, `out` or `explain` cannot be used.
    """
    if out.exists() and not out.is_dir():
        raise BadInput(out, "a file, not a folder", "give another --out")
    return answer_patient(release, patient.as_patient(release.contents()), out, explain=explain)


def answer_patient(
    release: Answering, patient: Patient, out: Path, *, explain: Path | None = None
) -> dict[str, Any]:
    """Like `predict_with`, for a manifest's row."""
    from components.preprocess.prepare import prepare_patient

    contents = release.contents()
    case = prepare_patient(patient, contents.plan, subset="prediction", fold=None, cache=None)
    answer = release.ask(request_tensors(case, contents))
    content = describe(answer, case, contents)
    _write(out, content, answer, case, contents, explain)
    return content


def describe(answer: Answer, case: PreparedCase, contents: Contents) -> dict[str, Any]:
    """The content of prediction.json.

    `slices` are the five slices' probabilities in the order of `slice_indices` (0-based z on the
    network grid).
    """
    origin = [ON_PHANTOMS] if contents.trained_on is Origin.PHANTOMS else []
    return {
        "patient_id": case.patient_id,
        "status": answer.status.value,
        "probability_idh_mutant": answer.probability,
        "slices": _list(answer.slice_probabilities),
        "slice_indices": _list(answer.slices),
        "features": answer.features,
        "tumor_volume_ml": answer.tumor_ml,
        "uncertainty": answer.uncertainty,
        "ood": answer.ood,
        "release": answer.release,
        "trained_on": contents.trained_on.value,
        "profile": contents.profile,
        "preprocessing": {"plan": contents.plan_digest, "quality": case.quality},
        "warnings": [*origin, *answer.warnings, *case.warnings],
        "intended_use": RESEARCH_USE,
    }


def _list(values: tuple[Any, ...] | None) -> list[Any] | None:
    return None if values is None else list(values)


def _write(
    out: Path,
    content: dict[str, Any],
    answer: Answer,
    case: PreparedCase,
    contents: Contents,
    explain: Path | None,
) -> None:
    """Make all files aside, then move them in; prediction.json comes last."""
    from components.preprocess.prepare import mask_to_native
    from serving.explanation import draw_answer_explanation
    from serving.figure import draw_prediction

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".partial-") as aside:
        folder = Path(aside)
        write_image(folder / MASK_FILE, mask_to_native(answer.mask, case))
        draw_prediction(folder / PICTURE_FILE, content, answer, case, contents)
        names = [MASK_FILE, PICTURE_FILE]
        if explain is not None and answer.status is not Status.NO_TUMOR:
            content["saliency"] = draw_answer_explanation(
                folder / EXPLANATION_FILE, answer, case, contents, explain
            )
            names.append(EXPLANATION_FILE)
        write_json(folder / PREDICTION_FILE, content)
        for name in (*names, PREDICTION_FILE):
            (folder / name).replace(out / name)
