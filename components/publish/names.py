"""Names under which auditors find things in MLflow: models, aliases, tags, files."""

from __future__ import annotations

from enum import StrEnum


class RegisteredModel(StrEnum):
    """Registered models: the two networks, and the pair of them as one release."""

    SEGMENTER = "glioma-segmenter"
    HYBRID = "glioma-idh-hybrid"
    RELEASE = "glioma-idh"


class Alias(StrEnum):
    """candidate: the newest; challenger: passed, waits for a person; champion: is served."""

    CANDIDATE = "candidate"
    CHALLENGER = "challenger"
    CHAMPION = "champion"


TAG = "glioflow."
"""Prefix of every tag of ours."""

RELEASE = TAG + "release"
PUBLICATION = TAG + "publication"
"""sha256 over all digests of what was published: the same artifacts are published once."""
TRAINED_ON = TAG + "trained_on"
STATE = TAG + "state"
"""publishing | complete; a run or version that is not complete is not a release."""
STEP = TAG + "step"
GATE = TAG + "gate"
REFUSED_BECAUSE = TAG + "refused_because"
DIGESTS_SHA256 = TAG + "digests_sha256"
LEDGER_ENTRY = TAG + "ledger_entry"
"""Hash of the ledger entry that records a version's registration."""

COMPLETE = "complete"
PUBLISHING = "publishing"

DIGESTS_FILE = "digests.json"
GATE_FILE = "gate.json"
MANIFEST_FILE = "manifest.csv"
METRICS_FILE = "metrics.json"
INPUTS_FILE = "inputs.json"
"""sha256 of every file the run handed over, also of those that are not uploaded."""
