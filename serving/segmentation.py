"""Images in, tumour mask out, by the segmenter that comes with the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.cohort.images import is_dicom, write_image
from components.cohort.manifest import Patient
from components.cohort.prepared import PreparedCase
from components.core.errors import BadInput, Implausible
from components.core.files import replacing, require_folder, write_json
from components.core.vocabulary import Sequence, Status
from components.preprocess.sequences import input_digests, refuse_changed
from components.synthetic.model import SyntheticSegmenter
from serving.pacs.files import SEGMENTATION_FILE
from serving.predict import check_patient_id
from serving.report.files import MASK_FILE, write_dicom_mask
from serving.report.result import file_digests
from serving.report.segmentation import write_segmentation_page

RESULT_FILE, PAGE_FILE = "segmentation.json", "segmentation.html"
FILES = (MASK_FILE, SEGMENTATION_FILE, PAGE_FILE, RESULT_FILE)
"""In the order in which they appear: who finds the last, finds all."""

REFERENCES = (Sequence.T1C, Sequence.FLAIR, Sequence.T2)
"""Whose grid the mask lies on: the first of these that the patient has."""

DOUBTFUL = 0.6
"""Confidence below which the answer carries a warning."""

ORIGIN = "trained on synthetic patients alone; research use only"


@dataclass(frozen=True)
class SegmentationFiles:
    """The images of one patient.

    Attributes:
        files: NIfTI file or folder of one DICOM series, for any of the three sequences.
        patient_id: written into the answer.
    """

    files: dict[Sequence, Path]
    patient_id: str = "unnamed"

    @property
    def reference(self) -> Sequence:
        """See REFERENCES. Raises BadInput where there is no image."""
        found = [sequence for sequence in REFERENCES if sequence in self.files]
        if not found:
            raise BadInput("--t1c, --t2, --flair", "no image is given", "give one at least")
        return found[0]

    @property
    def names(self) -> dict[Sequence, Sequence]:
        """Under which name preprocessing knows each sequence: it takes its reference for a T1C."""
        return {s: Sequence.T1C if s is self.reference else s for s in self.files}

    def as_patient(self) -> Patient:
        """The manifest row to prepare. Raises BadInput on an id that no manifest would hold."""
        check_patient_id(self.patient_id)
        paths: dict[str, Any] = dict.fromkeys(sequence.value for sequence in Sequence)
        paths |= {name.value: str(self.files[sequence]) for sequence, name in self.names.items()}
        return Patient(patient_id=self.patient_id, site="", **paths)


def segment_patient(
    patient: SegmentationFiles,
    out: Path,
    *,
    model: SyntheticSegmenter,
    accept_implausible: bool = False,
) -> dict[str, Any]:
    """Prepare, segment and write segmentation.json, tumor_mask.nii.gz and segmentation.html.

    The mask lies on the reference's own grid; where that is DICOM, tumor_mask.dcm is written too.

    Args:
        out: folder.
        accept_implausible: segment where a limit of components.preprocess.quality.plausibility is
            broken, with a warning; by default such images get the status `abstain` and a reason.

    Returns:
        The content of segmentation.json.

    Raises:
        BadInput: an image or `out` cannot be used.
    """
    from components.preprocess.cohort import prepare_patient

    require_folder(out)
    names = patient.names
    row, sequences = patient.as_patient(), tuple(s for s in Sequence if s in names.values())
    files = input_digests(row, sequences)
    told = {sequence.value: files[name.value] for sequence, name in names.items()}
    content: dict[str, Any] = {
        "patient_id": patient.patient_id,
        "status": Status.ABSTAIN.value,
        "reason": None,
        "tumor_volume_ml": None,
        "confidence": None,
        "sequences": [sequence.value for sequence in Sequence if sequence in patient.files],
        "grid_of": patient.reference.value,
        "model": model.identity,
        "trained_on": "synthetic patients",
        "inputs": file_digests(told),
        "warnings": [ORIGIN],
    }
    other = patient.reference is not Sequence.T1C
    try:
        case = prepare_patient(
            row,
            model.plan_for(sequences),
            accept_implausible=accept_implausible,
            unchecked=("t1_contrast",) if other else (),
        )
    except Implausible as error:
        content["reason"] = {"check": error.check, "sentence": error.problem}
        return _write_files(out, content, None, None, None)
    refuse_changed(row, sequences, files)
    probability = model.probability(case, names)
    rule = model.segmenter.rule
    mask = rule.mask(probability, case.grid, case.working)
    content["status"] = (Status.OK if mask.any() else Status.NO_TUMOR).value
    content["tumor_volume_ml"] = round(float(mask.sum()) * case.working.voxel_ml, 3)
    content["confidence"] = round(rule.confidence(probability), 4)
    content["warnings"] = [ORIGIN, *_warnings(content, patient), *case.warnings]
    series = patient.files[patient.reference]
    return _write_files(out, content, case, mask, series if is_dicom(series) else None)


def _warnings(content: dict[str, Any], patient: SegmentationFiles) -> list[str]:
    found = []
    if Sequence.FLAIR not in patient.files:
        found.append("no FLAIR: the oedema may be missed")
    if content["status"] == Status.OK and content["confidence"] < DOUBTFUL:
        found.append(f"confidence {content['confidence']:.2f}: look at the outline before any use")
    return found


def _write_files(
    out: Path,
    content: dict[str, Any],
    case: PreparedCase | None,
    mask: np.ndarray | None,
    series: Path | None,
) -> dict[str, Any]:
    """Write all files aside, then move them in; what only an earlier answer had, goes."""
    from components.preprocess.cohort import mask_to_native

    with replacing(out, FILES) as folder:
        if case is not None and mask is not None:
            native = mask_to_native(mask, case)
            write_image(folder / MASK_FILE, native)
            if series is not None:
                said = write_dicom_mask(folder, content["model"], series, native)
                content = {**content, "warnings": [*content["warnings"], *([said] if said else [])]}
            write_segmentation_page(folder / PAGE_FILE, content, case, mask)
        write_json(folder / RESULT_FILE, content)
    return content
