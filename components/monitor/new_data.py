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
from components.core.s3 import is_remote

log = logging.getLogger(__name__)


def digests(cohorts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Cohort -> sha256 of its manifest as it stands now.

    Raises:
        BadInput: no cohort is given, or a manifest cannot be read.
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
    if not is_remote(address):
        path = Path(address)
        return json.loads(path.read_text()) if path.is_file() else {}
    from botocore.exceptions import ClientError

    bucket, key = _parts(address)
    try:
        return json.loads(_s3().get_object(Bucket=bucket, Key=key)["Body"].read())
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return {}
        raise


def _write(address: str, content: Mapping[str, Any]) -> None:
    if not is_remote(address):
        write_json(address, content)
        return
    bucket, key = _parts(address)
    # One object is replaced as a whole: a reader sees the old record or the new one.
    _s3().put_object(Bucket=bucket, Key=key, Body=json.dumps(content, indent=2).encode())


def _parts(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise BadInput(address, "not an S3 address", "write s3://BUCKET/KEY.json")
    return bucket, key


def _s3() -> Any:
    import boto3

    return boto3.client("s3")
