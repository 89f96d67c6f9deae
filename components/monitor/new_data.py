"""The record of manifests that a run was made from: one JSON file, {profile: {cohort: sha256}}."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.cohort.manifest import read_table
from components.core.errors import BadInput
from components.core.files import write_json
from components.core.s3 import is_remote, read_object, write_object

log = logging.getLogger(__name__)


def manifest_digests(cohorts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Cohort -> sha256 of its manifest as it stands now.

    Raises BadInput: no cohort is given, or a manifest cannot be read.
    """
    if not cohorts:
        raise BadInput("--only-new", "no cohort is given", "add --cohort development=s3://...")
    return {entry["name"]: read_table(entry["manifest"]).sha256 for entry in cohorts}


def is_new(found: Mapping[str, str], profile: str, seen: str) -> bool:
    """Whether `found` differs from what the record at `seen` holds of this profile."""
    known = _read(seen).get(profile)
    changed = sorted(name for name in found if (known or {}).get(name) != found[name])
    log.info("manifests not seen before: %s", ", ".join(changed) or "none")
    return dict(found) != known


def remember(found: Mapping[str, str], profile: str, seen: str) -> None:
    """Put `found` into the record; other profiles' entries stay."""
    _write(seen, {**_read(seen), profile: dict(found)})


def _read(address: str) -> dict[str, Any]:
    if is_remote(address):
        content = read_object(address)
    else:
        path = Path(address)
        content = path.read_bytes() if path.is_file() else None
    try:
        found = json.loads(content or b"{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadInput(address, "not a record of manifests", "remove it, or name another")
    return found


def _write(address: str, content: Mapping[str, Any]) -> None:
    if is_remote(address):
        write_object(address, json.dumps(content, indent=2).encode())
    else:
        write_json(address, content)
