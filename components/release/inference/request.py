"""One patient as the ensemble wants it, and what the ensemble says, in our own types."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from components.cohort.manifest import AGE_YEARS
from components.cohort.prepared import PreparedCase
from components.core.errors import BadInput
from components.core.vocabulary import FEATURE_NAMES, Status
from components.release.manifest import Contents
from components.release.tensors import NO_NUMBER, STATUS_CODES, from_text

_STATUSES = {code: status for status, code in STATUS_CODES.items()}

CANARY_SEED = 7
CANARY_BOX_MM = 160.0
CANARY_AGE = 50.0


@dataclass(frozen=True)
class Answer:
    """What the ensemble says about one patient.

    Attributes:
        status: OK, NO_TUMOR or ABSTAIN.
        probability: of IDH mutation; None without a tumour.
        slice_probabilities: the same of each slice; None without a tumour.
        slices: 0-based z of the slices on the network grid; None without a tumour.
        features: by name; None without a tumour.
        mask: bool (z, y, x) on the working grid.
        tumor_ml: tumour volume.
        uncertainty, ood: see the classifier; None without a tumour.
        release: id of the release that answered.
        warnings: sentences a reader must see.
    """

    status: Status
    probability: float | None
    slice_probabilities: tuple[float, ...] | None
    slices: tuple[int, ...] | None
    features: dict[str, float] | None
    mask: np.ndarray
    tumor_ml: float
    uncertainty: float | None
    ood: float | None
    release: str
    warnings: tuple[str, ...]

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> Answer:
        """From the ensemble's outputs."""
        status = _STATUSES[int(tensors["status"][0])]
        found = status is not Status.NO_TUMOR

        def number(name: str) -> float | None:
            value = float(tensors[name][0])
            return value if found and value != NO_NUMBER else None

        names = dict(zip(FEATURE_NAMES, tensors["features"].tolist(), strict=True))
        return cls(
            status=status,
            probability=number("probability_idh_mutant"),
            slice_probabilities=tuple(tensors["slice_probabilities"].tolist()) if found else None,
            slices=tuple(tensors["slices"].tolist()) if found else None,
            features=names if found else None,
            mask=_mask(tensors),
            tumor_ml=float(tensors["tumor_ml"][0]),
            uncertainty=number("uncertainty"),
            ood=number("ood"),
            release=from_text(tensors["release"]),
            warnings=tuple(json.loads(from_text(tensors["warnings"]))),
        )


def _mask(tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """bool (z, y, x), from whichever form of it was asked for."""
    if "mask" in tensors:
        return tensors["mask"].astype(bool)
    packed = np.asarray(tensors["mask_gzip"], np.uint8).tobytes()
    flat = np.frombuffer(gzip.decompress(packed), np.uint8)
    return flat.reshape(tensors["mask_shape"]).astype(bool)


def request_tensors(case: PreparedCase, contents: Contents) -> dict[str, np.ndarray]:
    """The ensemble's inputs for a prepared case.

    Raises BadInput: the case has no age, lacks a sequence, or has another grid than the release's.
    """
    interface = contents.interface
    if case.age is None:
        low, high = AGE_YEARS
        raise BadInput(
            f"patient {case.patient_id}", "no age", f"give it in years, {low:g} to {high:g}"
        )
    if case.grid.shape != interface.cube:
        raise BadInput(
            f"patient {case.patient_id}",
            f"prepared on a grid of shape {case.grid.shape}, the release wants {interface.cube}",
            "prepare the patient with the release's plan",
        )
    return {
        **{s.value: np.ascontiguousarray(case.volume(s)) for s in interface.sequences},
        "brain": case.brain.astype(np.uint8),
        "age": np.array([case.age], dtype=np.float32),
        "grid_affine": case.grid.affine.astype(np.float64),
        "to_mni": np.asarray(case.to_mni, dtype=np.float64),
        "plan": np.frombuffer(bytes.fromhex(case.plan_digest), dtype=np.uint8).copy(),
    }


def canary_request(contents: Contents) -> dict[str, np.ndarray]:
    """A request that every healthy server of this release answers: noise in an ellipsoid."""
    rng = np.random.default_rng(CANARY_SEED)
    side = np.linspace(-1.15, 1.15, contents.grid)
    brain = side[:, None, None] ** 2 + side[:, None] ** 2 + side**2 <= 1.0
    spacing = CANARY_BOX_MM / contents.grid
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = (spacing - CANARY_BOX_MM) / 2.0
    volumes = {
        sequence.value: (rng.standard_normal(brain.shape) * brain).astype(np.float32)
        for sequence in contents.interface.sequences
    }
    return {
        **volumes,
        "brain": brain.astype(np.uint8),
        "age": np.array([CANARY_AGE], dtype=np.float32),
        "grid_affine": affine,
        "to_mni": np.eye(4),
        "plan": np.frombuffer(bytes.fromhex(contents.plan_digest), dtype=np.uint8).copy(),
    }
