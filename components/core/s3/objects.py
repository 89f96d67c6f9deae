"""Single objects in S3: read, written, uploaded, fetched to a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from components.core.errors import BadInput, Outage
from components.core.s3.address import parse
from components.core.s3.client import CHUNK, client, head, s3_error
from components.core.s3.download import ChangedMeanwhile, RemoteObject, download


def read_object(address: str) -> bytes | None:
    """Bytes of a small object, always anew; None where there is none.

    Raises:
        BadInput: not an address, or access refused.
        Outage: see `local_copy`.
    """
    bucket, key = parse(address)
    with s3_error(address):
        try:
            return client().get_object(Bucket=bucket, Key=key)["Body"].read()
        except client().exceptions.NoSuchKey:
            return None


def write_object(address: str, content: bytes) -> None:
    """Write a small object: readers see the old one or this one.

    Raises BadInput, Outage: see `read_object`.
    """
    bucket, key = parse(address)
    with s3_error(address):
        client().put_object(Bucket=bucket, Key=key, Body=content)


def upload_object(source: Path, address: str, sha256: str) -> bool:
    """Upload a file, unless an object with this sha256 is there; returns whether it was not.

    Raises BadInput, Outage: see `read_object`.
    """
    bucket, key = parse(address)
    with s3_error(address):
        found = head(bucket, key)
        same = found is not None and found["Metadata"].get("sha256") == sha256
        if found is not None and same and found["ContentLength"] == source.stat().st_size:
            return False
        with source.open("rb") as stream:
            client().put_object(Bucket=bucket, Key=key, Body=stream, Metadata={"sha256": sha256})
    return True


def sha256_object(address: str) -> str:
    """sha256 (hex) of what S3 gives back, read in chunks. Raises as `read_object`."""
    bucket, key = parse(address)
    digest = hashlib.sha256()
    with s3_error(address):
        for chunk in client().get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fetch_object(address: str, target: Path, limit: int) -> None:
    """Bring one object to `target`, going on where a killed download stopped.

    Args:
        limit: bytes; a larger object is refused.

    Raises:
        BadInput: no such object, access refused, or larger than `limit`.
        Outage: see `local_copy`.
    """
    bucket, key = parse(address)
    with s3_error(address, target.parent):
        found = head(bucket, key)
        if found is None:
            raise BadInput(address, "no such object in S3", "check bucket and key")
        if found["ContentLength"] > limit:
            size = f"{found['ContentLength'] / 1e6:.1f} MB"
            raise BadInput(address, f"{size} is more than {limit / 1e6:g} MB", "refuse it")
        item = RemoteObject(target.name, bucket, key, found["ContentLength"], found["ETag"])
        try:
            download(address, item, target)
        except ChangedMeanwhile:
            raise Outage(address, "changed while it was read", "run again") from None
