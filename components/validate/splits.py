"""Who is trained on and who is tested on: patient-level, stratified, seeded."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from components.cohort.manifest import Patient
from components.core.errors import BadInput
from components.core.vocabulary import Split
from components.validate.settings import ValidateSettings

Assignment = tuple[str, int | None]
"""(subset, fold): the part a development patient belongs to, and its fold or None."""


def assign_development(
    patients: list[Patient], settings: ValidateSettings
) -> dict[str, Assignment]:
    """Assign every development patient.

    With folds, every patient is "training" with a fold (0-based). Without, the manifest's split
    column is taken where every patient has one; where none has, shares are dealt out by seed.

    Raises BadInput: only some patients have a split.
    """
    if settings.folds > 1:
        folds = _deal(patients, settings.seed, [1.0 / settings.folds] * settings.folds)
        return {name: (Split.TRAINING.value, fold) for name, fold in folds.items()}
    given = [patient for patient in patients if patient.split is not None]
    if given and len(given) < len(patients):
        lacking = next(p.patient_id for p in patients if p.split is None)
        raise BadInput(
            f"patient {lacking}, column split",
            f"empty, while {len(given)} other patients have a split",
            "fill the column for every development patient, or for none",
        )
    if given:
        return {p.patient_id: (p.split.value, None) for p in patients if p.split}
    parts = _deal(patients, settings.seed, list(settings.splits))
    return {name: (list(Split)[part].value, None) for name, part in parts.items()}


def _deal(patients: list[Patient], seed: int, shares: list[float]) -> dict[str, int]:
    """patient_id -> part (0-based); shares hold to rounding in each stratum of IDH and site.

    Strata are dealt one after the other to whichever part lacks most, so that small strata do not
    all fall into the first part.
    """
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for patient in sorted(patients, key=lambda p: p.patient_id):
        strata[(str(patient.idh), patient.site)].append(patient.patient_id)
    wanted = np.array(shares) / np.sum(shares)
    filled = np.zeros(len(shares))
    parts: dict[str, int] = {}
    rng = np.random.default_rng(seed)
    for key in sorted(strata):
        local = np.zeros(len(shares))
        names = strata[key]
        for count, index in enumerate(rng.permutation(len(names)), start=1):
            lack = wanted * count - local
            # Within a stratum first; the whole cohort's balance decides between equals.
            best = np.flatnonzero(lack > lack.max() - 1e-9)
            part = int(best[np.argmax((wanted * (len(parts) + 1) - filled)[best])])
            parts[names[index]] = part
            local[part] += 1
            filled[part] += 1
    return parts


def splits_digest(assignments: Mapping[str, Assignment]) -> str:
    """sha256 (hex) of who is where."""
    return hashlib.sha256(json.dumps(sorted(assignments.items())).encode()).hexdigest()
