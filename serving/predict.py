"""One patient from image files to an answer on disk: prediction.json, a mask, a picture, a page."""

from __future__ import annotations

import hashlib
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
from components.preprocess.sequences import input_digests
from serving.client import Access, Client
from serving.contents import Contents
from serving.request import Answer, request_tensors
from serving.steps import digest_request

PREDICTION_FILE = "prediction.json"
MASK_FILE = "tumor_mask.nii.gz"
PICTURE_FILE = "prediction.png"
PAGE_FILE = "prediction.html"
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
        out: folder; gets prediction.json, tumor_mask.nii.gz on the T1C's own grid, prediction.png
            and prediction.html.
        explain: folder of the classifier that the release was exported from, or of its run; adds
            explanation.png, its saliency to the page, and to the answer where the saliency lies.

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
    files = input_digests(patient, contents.plan.sequences)
    case = prepare_patient(patient, contents.plan, subset="prediction", fold=None, cache=None)
    answer = release.ask(request_tensors(case, contents))
    content = describe(answer, case, contents, files)
    _write(out, content, answer, case, contents, explain)
    return content


def describe(
    answer: Answer, case: PreparedCase, contents: Contents, files: Mapping[str, str]
) -> dict[str, Any]:
    """The content of prediction.json.

    `slices` are the five slices' probabilities in the order of `slice_indices` (0-based z on the
    network grid). `inputs` are digests: of each file, of a series' files, and of the request.

    Args:
        files: see components.preprocess.sequences.input_digests.
    """
    request = digest_request(request_tensors(case, contents), contents.interface)
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
        "inputs": {
            "files": {name: _one_digest(found) for name, found in files.items()},
            "request": request.hex(),
        },
        "preprocessing": {"plan": contents.plan_digest, "quality": case.quality},
        "warnings": [*origin, *answer.warnings, *case.warnings],
        "intended_use": RESEARCH_USE,
    }


def _one_digest(found: str) -> str:
    """A file's sha256; of a series' files (joined by commas) the sha256 of that."""
    return hashlib.sha256(found.encode()).hexdigest() if "," in found else found


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
    from serving.explanation import draw_explained, explain_answer
    from serving.figure import draw_prediction
    from serving.page import write_page

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".partial-") as aside:
        folder = Path(aside)
        write_image(folder / MASK_FILE, mask_to_native(answer.mask, case))
        draw_prediction(folder / PICTURE_FILE, content, answer, case, contents)
        explained = None
        if explain is not None and answer.status is not Status.NO_TUMOR:
            explained = explain_answer(answer, case, contents, explain)
            content["saliency"] = explained.shares()
            draw_explained(folder / EXPLANATION_FILE, explained, answer, case)
        write_page(folder / PAGE_FILE, content, answer, case, contents, explained)
        write_json(folder / PREDICTION_FILE, content)
        _replace(folder, out)


def _replace(made: Path, out: Path) -> None:
    """Move one answer's files in, the JSON last; what an earlier answer alone had, goes."""
    for name in (MASK_FILE, PICTURE_FILE, EXPLANATION_FILE, PAGE_FILE, PREDICTION_FILE):
        if (made / name).exists():
            (made / name).replace(out / name)
        else:
            (out / name).unlink(missing_ok=True)
