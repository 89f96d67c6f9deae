"""An exported release on disk: its parts, its id, and how it is read back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from components.release.manifest import Contents, ReleaseManifest
from components.release.tensors import ENSEMBLE, Step

PLAN_FILE = "plan.json"

VERSION = "1"
"""Version folder of every model: a release is immutable, a new one is another repository."""


@dataclass(frozen=True)
class Release:
    """An exported release.

    Attributes:
        folder: the Triton model repository.
        manifest, contents: see there.
    """

    folder: Path
    manifest: ReleaseManifest
    contents: Contents

    @property
    def release(self) -> str:
        """ "glioma-idh-" and 12 hex digits of the sha256 over its files."""
        return self.manifest.release

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

    Raises BadInput: not an exported release.
    """
    folder = Path(folder)
    contents = folder / ENSEMBLE / VERSION
    return Release(folder, ReleaseManifest.read(folder), Contents.read(contents))
