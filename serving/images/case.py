"""A prepared case on its way between Triton's models: tensors, and a header of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from components.cohort.prepared import PreparedCase
from components.core.imaging.grid import Grid, working_grid
from components.core.vocabulary import Origin
from components.release.image_tensors import HEADER
from components.release.inference.request import canary_request, request_tensors
from components.release.manifest import Contents
from components.release.prediction import Reason
from components.release.tensors import from_text, to_text
from serving.images.preparer import Prepared
from serving.images.worker import PATIENT_ID

PREFIX = "prepared_"
CANARY = "canary"
"""What a canary sends, and why its case abstains."""

_NO_PATIENT = Reason(check=CANARY, sentence="no patient: a canary")


class CaseHeader(BaseModel):
    """What the last model must know of a case beside its tensors.

    Attributes:
        native: the T1C's own grid, as Grid.to_json writes it; None of a canary.
        quality, warnings: see PreparedCase.
        files: tensor name -> sha256 (hex) of what was sent.
        dicom: whether the T1C is a DICOM series.
        abstains: why nothing can be said of these images; the tensors then hold a canary.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    native: dict[str, Any] | None
    quality: dict[str, float] = {}
    warnings: tuple[str, ...] = ()
    files: dict[str, str] = {}
    dicom: bool = False
    abstains: Reason | None = None

    @classmethod
    def read(cls, tensors: Mapping[str, np.ndarray]) -> CaseHeader:
        """From the tensor that carries it."""
        return cls.model_validate_json(from_text(tensors[HEADER.name]))

    def tensor(self) -> np.ndarray:
        """As a tensor."""
        return to_text(self.model_dump_json())

    @property
    def canary(self) -> bool:
        """Whether no patient is behind it."""
        return self.abstains == _NO_PATIENT


def case_tensors(prepared: Prepared, contents: Contents) -> dict[str, np.ndarray]:
    """Outputs of the first model. A case that abstains passes the networks as a canary."""
    case = prepared.case
    header = CaseHeader(
        native=prepared.native.to_json(),
        quality=case.quality if case else {},
        warnings=case.warnings if case else (),
        files=prepared.files,
        dicom=prepared.dicom,
        abstains=prepared.abstains,
    )
    tensors = request_tensors(case, contents) if case else canary_request(contents)
    return _named(tensors) | {HEADER.name: header.tensor()}


def canary_tensors(contents: Contents) -> dict[str, np.ndarray]:
    """Outputs of the first model for a client that asks whether the ensemble answers."""
    header = CaseHeader(native=None, abstains=_NO_PATIENT)
    return _named(canary_request(contents)) | {HEADER.name: header.tensor()}


def _named(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {PREFIX + name: tensor for name, tensor in tensors.items()}


def case_from_tensors(
    tensors: Mapping[str, np.ndarray], header: CaseHeader, contents: Contents
) -> PreparedCase:
    """The case that `case_tensors` sent; of its volumes, those that the networks read."""
    own = {name.removeprefix(PREFIX): each for name, each in tensors.items() if PREFIX in name}
    sequences = contents.interface.sequences
    grid = Grid.from_affine(own["grid_affine"], contents.interface.cube)
    assert header.native is not None
    return PreparedCase(
        patient_id=PATIENT_ID,
        site="",
        subset="prediction",
        fold=None,
        age=float(own["age"][0]),
        sex=None,
        idh=None,
        grade=None,
        codeletion=None,
        origin=Origin.PATIENTS,
        sequences=sequences,
        volumes=np.stack([own[name.value] for name in sequences]).astype(np.float16),
        brain=own["brain"].astype(bool),
        tumor=None,
        tumor_working=None,
        grid=grid,
        working=working_grid(grid, contents.plan.working_mm),
        native=Grid.from_json(header.native),
        to_mni=own["to_mni"],
        plan_digest=contents.plan_digest,
        quality=header.quality,
        warnings=header.warnings,
    )
