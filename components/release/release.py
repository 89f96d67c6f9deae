"""An exported release on disk: its parts, its id, and how it is read back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from components.release.manifest import Contents, ReleaseManifest
from components.release.settings import ServingSettings
from components.release.tensors import ENSEMBLE, Step

PLAN_FILE = "plan.json"

VERSION = "1"
"""Version folder of every model: a release is immutable, a new one is another repository."""


@dataclass(frozen=True)
class Release:
    """An exported release.

    Attributes:
        folder: the Triton model repository.
        release: "glioma-idh-" and 12 hex digits of the sha256 over its files.
        contents: see Contents.
        settings: how it is laid out for Triton.
        files: relative path -> sha256 of every file but release.json.
        parity: largest difference between exported and trained networks, by network.
    """

    folder: Path
    release: str
    contents: Contents
    settings: ServingSettings
    files: dict[str, str]
    parity: dict[str, float]

    @property
    def suffix(self) -> str:
        """What sets this release's models apart from another's on one server."""
        return suffix_of(self.release)


def suffix_of(release: str) -> str:
    """See Release.suffix."""
    return "_" + release.rpartition("-")[2]


def network_file(repository: Path, step: Step) -> Path:
    """Where the ONNX file of a network lies."""
    return repository / step / VERSION / "model.onnx"


def model_name(step: Step, suffix: str = "") -> str:
    """Name of one of the ensemble's models."""
    return step.value + suffix


def release_id(files: dict[str, str]) -> str:
    """Name of a release with these files (relative path -> sha256)."""
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    return f"glioma-idh-{digest[:12]}"


def read_release(folder: Path | str) -> Release:
    """Read release.json and contents.json; see `verify_release` for the files.

    Raises:
        BadInput: not an exported release.
    """
    folder = Path(folder)
    manifest = ReleaseManifest.read(folder)
    return Release(
        folder=folder,
        release=manifest.release,
        contents=Contents.read(folder / ENSEMBLE / VERSION),
        settings=manifest.settings,
        files=manifest.files,
        parity=manifest.parity,
    )
