"""One version's chain as the auditor walks it, and what a walk reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.files import read_json, sha256_file
from components.registry import names
from components.registry.ledger import Entry, Ledger
from components.registry.tracking.step_records import PARENT
from components.registry.tracking.store import TrackingStore, download_artifacts

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from components.release.integrity.keys import TrustedKey

TOLERANCE = 1e-6
"""Largest difference between a stored figure and the same figure computed again."""


class Link(StrEnum):
    """Links of the chain, from what was served back to what it was learnt from, and who let it."""

    PREDICTION = "prediction"
    LEDGER = "ledger"
    WITNESS = "witness"
    REGISTRY = "registry"
    MODEL = "model"
    RUN = "run"
    CODE = "code"
    DATA = "data"
    FIGURES = "figures"
    GATE = "gate"
    CHAMPION = "champion"
    APPROVALS = "approvals"
    RELEASE = "release"
    ATTESTATIONS = "attestations"
    EXPORT = "export"
    HERE = "here"


@dataclass(frozen=True)
class AuditCheck:
    """One thing that was compared."""

    what: str
    ok: bool
    expected: Any = None
    found: Any = None


@dataclass(frozen=True)
class AuditReport:
    """All checks.

    Attributes:
        reference: what was audited, as it was named.
        links: link -> its checks, in the order of the chain; what there is not is absent.
    """

    reference: str
    links: Mapping[Link, tuple[AuditCheck, ...]]

    @property
    def checks(self) -> tuple[AuditCheck, ...]:
        """The checks of every link, in order."""
        return tuple(check for checks in self.links.values() for check in checks)

    @property
    def ok(self) -> bool:
        """Whether every link holds."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """{"ok", "reference", "checks": [{"link", "what", "ok", "expected", "found"}]}."""
        return {
            "ok": self.ok,
            "reference": self.reference,
            "checks": [
                {"link": link.value, **asdict(check)}
                for link, checks in self.links.items()
                for check in checks
            ],
        }


@dataclass(frozen=True)
class Chain:
    """One registered version, the ledger entry that recorded it, and its files in `scratch`.

    Attributes:
        trusted: who must have signed the release; None demands nobody.
        local: a run's output folder, or an exported repository, on this machine.
        approvers: file of the approvers that must be in force.
        witness: folder of time-stamps that `glioflow witness` wrote.
    """

    store: TrackingStore
    ledger: Ledger
    entry: Entry
    version: ModelVersion
    scratch: Path
    trusted: TrustedKey | None
    local: Path | None
    approvers: Path | None
    witness: Path | None

    @property
    def run_id(self) -> str:
        """Of the parent run."""
        return self.entry.details["run_id"]

    def folder(self, step: str) -> Path:
        """Where the files of a step's run lie, once the runs were walked."""
        return self.scratch / "runs" / step

    def handed_over(self, folder: str) -> dict[str, str]:
        """Relative path -> sha256 of every file in a folder that the run handed over."""
        inputs: dict[str, str] = read_json(self.folder(PARENT) / names.INPUTS_FILE)
        prefix = f"{folder}/"
        return {n.removeprefix(prefix): sha for n, sha in inputs.items() if n.startswith(prefix)}

    def artifact(self, name: str) -> Path | None:
        """A file of the parent run; None where it is missing."""
        return download_artifacts(self.store, self.run_id, name, self.scratch / "parent")

    def document(self, name: str) -> Any:
        """A JSON document of the parent run; None where its digest is not the ledger's."""
        path = self.artifact(name)
        intact = path is not None and sha256_file(path) == self.entry.details["sha256"][name]
        return read_json(path) if path is not None and intact else None


def compare(what: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> AuditCheck:
    """Whether two tables agree; the check shows only where they do not."""
    return AuditCheck(
        what, expected == found, differing(expected, found), differing(found, expected)
    )


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of `one` that `other` has not, or has otherwise."""
    return {key: value for key, value in one.items() if key not in other or other[key] != value}


def close(one: float, other: float) -> bool:
    """Whether two figures are the same figure."""
    return math.isclose(one, other, rel_tol=0.0, abs_tol=TOLERANCE)
