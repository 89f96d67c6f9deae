"""What is written of a patient whose preparation is implausible: an abstention, with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.errors import Implausible
from components.core.files import write_json
from components.core.vocabulary import Status
from components.release.manifest import Contents
from serving.report.files import FILES, PREDICTION_FILE, RESEARCH_USE, file_digests

_NUMBERS = (
    "probability_idh_mutant",
    "slices",
    "slice_indices",
    "features",
    "tumor_volume_ml",
    "uncertainty",
    "ood",
)
"""Keys of prediction.json that nothing is known for: null."""


def write_abstention(
    out: Path,
    patient_id: str,
    release: str,
    contents: Contents,
    error: Implausible,
    files: Mapping[str, str],
) -> dict[str, Any]:
    """Write prediction.json with status "abstain", and remove what an earlier prediction left.

    Args:
        release: id of the release that abstains.
        files: see components.preprocess.sequences.input_digests.

    Returns:
        What prediction.json holds. `reason` names the check that failed, in a word for machines
        and in a sentence.
    """
    content: dict[str, Any] = {
        "patient_id": patient_id,
        "status": Status.ABSTAIN.value,
        "reason": {"check": error.check, "sentence": error.problem},
        **dict.fromkeys(_NUMBERS),
        "release": release,
        "trained_on": contents.trained_on.value,
        "profile": contents.profile,
        "inputs": {"files": file_digests(files), "request": None},
        "preprocessing": {"plan": contents.plan_digest, "quality": None},
        "warnings": [error.problem],
        "intended_use": RESEARCH_USE,
    }
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if name != PREDICTION_FILE:
            (out / name).unlink(missing_ok=True)
    write_json(out / PREDICTION_FILE, content)
    return content
