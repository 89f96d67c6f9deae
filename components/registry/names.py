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


RELEASE = "release"
PUBLICATION = "publication"
"""sha256 over all digests of what was published: the same artifacts are published once."""
TRAINED_ON = "trained_on"
STATE = "state"
"""publishing | complete; a run or version that is not complete is not a release."""
STEP = "step"
PLAN = "plan"
GATE = "gate"
REFUSED_BECAUSE = "refused_because"
LEDGER_ENTRY = "ledger_entry"
"""Hash of the ledger entry that records a version's registration."""

COMPLETE = "complete"
PUBLISHING = "publishing"

DIGESTS_FILE = "digests.json"
GATE_FILE = "gate.json"
CHAMPION_FILE = "champion_predictions.csv"
"""What the challenger was compared with: the champion's answers, stored and asked for."""
CANDIDATES = "candidates"
"""Folder of a run: the three above as each try to publish it wrote them, in folders by sha256."""
MANIFEST_FILE = "manifest.csv"
METRICS_FILE = "metrics.json"
INPUTS_FILE = "inputs.json"
"""sha256 of every file the run handed over, also of those that are not uploaded."""
