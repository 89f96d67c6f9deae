"""Addresses of objects: s3://BUCKET/KEY."""

from __future__ import annotations

from pathlib import Path

from components.core.errors import BadInput
from components.core.files import cache_folder

SCHEME = "s3://"


def is_remote(address: Path | str) -> bool:
    """Whether an address names an object in S3, not a local path."""
    return str(address).startswith(SCHEME)


def parent_of(address: str) -> str:
    """The folder of an address: s3://bucket/a/b.csv -> s3://bucket/a."""
    return address.rstrip("/").rpartition("/")[0]


def parse(address: str) -> tuple[str, str]:
    """Bucket and key of an address. Raises BadInput where it is none."""
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    if not bucket or not key.strip("/"):
        raise BadInput(address, "not an S3 address", "write s3://BUCKET/KEY")
    return bucket, key.rstrip("/")


def s3_cache_folder() -> Path:
    """Where copies of what lies in S3 are kept; it may be deleted whenever nothing runs."""
    return cache_folder() / "s3"
