"""What the ensemble's models say, as tensors: finite in every case, JSON having no NaN."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from components.classify.inference.abstention import AbstentionLimits
from components.core.vocabulary import Status
from components.features.feature_slice import StepResult
from components.release.tensors import NO_NUMBER, SLICES, STATUS_CODES, from_text, to_text

Tensors = Mapping[str, np.ndarray]


def step_tensors(result: StepResult) -> dict[str, np.ndarray]:
    """Outputs of the feature/slice step's model.

    Without a tumour the classifier is fed zeros and the reader gets NO_NUMBER.
    """
    found = result.status is not Status.NO_TUMOR
    features = np.asarray(result.features, dtype=np.float64)
    mask = result.mask_working.astype(np.uint8)
    return {
        "batch_images": result.images[None].astype(np.float32),
        "batch_features": features[None].astype(np.float32),
        "slices": result.slices.astype(np.int32),
        "mask": mask,
        "mask_gzip": np.frombuffer(gzip.compress(mask.tobytes(), 1, mtime=0), np.uint8),
        "mask_shape": np.array(mask.shape, dtype=np.int32),
        "features": _finite(features) if found else np.full_like(features, NO_NUMBER),
        "tumor_ml": np.array([result.tumor_ml], dtype=np.float32),
        "found": np.array([STATUS_CODES[result.status]], dtype=np.int32),
        "notes": to_text(json.dumps(list(result.warnings))),
    }


def final_tensors(
    tensors: Tensors, limits: AbstentionLimits, release: str
) -> dict[str, np.ndarray]:
    """Outputs of the last model: what the classifier said, or why it has nothing to say."""
    code = int(tensors["found"][0])
    warnings = json.loads(from_text(tensors["notes"]))
    numbers: dict[str, Any] = {
        "probability_idh_mutant": tensors["classifier_probability"].reshape(1),
        "slice_probabilities": tensors["classifier_slice_probability"].reshape(-1),
        "uncertainty": tensors["classifier_uncertainty"].reshape(1),
        "ood": tensors["classifier_ood"].reshape(1),
    }
    if code == STATUS_CODES[Status.NO_TUMOR]:
        numbers = {name: np.full_like(value, NO_NUMBER) for name, value in numbers.items()}
    else:
        reasons = limits.reasons(float(numbers["uncertainty"][0]), float(numbers["ood"][0]))
        code = STATUS_CODES[Status.ABSTAIN if reasons else Status.OK]
        warnings += reasons
    return {
        **{name: _finite(np.asarray(value, np.float32)) for name, value in numbers.items()},
        "status": np.array([code], dtype=np.int32),
        "warnings": to_text(json.dumps(warnings)),
        "release": to_text(release),
    }


def abstained_tensors(reason: str, release: str) -> dict[str, np.ndarray]:
    """Outputs of the last model for images of which nothing can be said."""
    return {
        "probability_idh_mutant": np.full(1, NO_NUMBER, np.float32),
        "slice_probabilities": np.full(SLICES, NO_NUMBER, np.float32),
        "uncertainty": np.full(1, NO_NUMBER, np.float32),
        "ood": np.full(1, NO_NUMBER, np.float32),
        "status": np.array([STATUS_CODES[Status.ABSTAIN]], dtype=np.int32),
        "warnings": to_text(json.dumps([reason])),
        "release": to_text(release),
    }


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, values.dtype.type(NO_NUMBER))
