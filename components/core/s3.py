"""Objects in S3, brought to disk: cached by ETag, verified, retried, whole or absent, resumed.

Endpoint, region and credentials come from the standard AWS environment (AWS_ENDPOINT_URL,
AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID, AWS_PROFILE ...), as boto3 reads it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from components.core.errors import BadInput, Outage

log = logging.getLogger(__name__)

SCHEME = "s3://"
CACHE_VARIABLE = "GLIOFLOW_CACHE"
"""Environment variable: folder of downloads (default ~/.cache/glioflow)."""

ATTEMPTS = 5
"""Requests without any progress before a download is given up; AWS_MAX_ATTEMPTS overrides it."""

BACK_OFF_S = 0.5
"""Wait before the second attempt; doubled at each further one."""

_CHUNK = 1 << 20
_MD5 = re.compile(r"[0-9a-f]{32}")
_COMPOSITE = re.compile(r"([0-9a-f]{32})-(\d+)")


@dataclass(frozen=True)
class _Object:
    """One object to bring: its name below the address asked for, and what S3 says of it."""

    name: str
    bucket: str
    key: str
    size: int
    etag: str


class _Changed(Exception):
    """The object was replaced while it was being read."""


def is_remote(address: Path | str) -> bool:
    """Whether an address names an object in S3, not a local path."""
    return str(address).startswith(SCHEME)


def parent_of(address: str) -> str:
    """The folder of an address: s3://bucket/a/b.csv -> s3://bucket/a."""
    return address.rstrip("/").rpartition("/")[0]


def cache_folder() -> Path:
    """$GLIOFLOW_CACHE/s3, or ~/.cache/glioflow/s3; it may be deleted whenever nothing runs."""
    base = os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "glioflow"
    return Path(base) / "s3"


def local_copy(address: Path | str) -> Path:
    """Local path of a file or folder; what lies in S3 is brought to disk first.

    An address that names no object but a prefix of several (a DICOM series) becomes a folder. A
    copy is named by the objects' ETags: what did not change in S3 is not read again, what did
    is. A killed download goes on from its last byte. Several processes may ask for one address.

    Raises:
        BadInput: not an address, nothing there, or access refused.
        Outage: no credentials, the server cannot be reached, the copy stays damaged, or the disk
            is full: nothing that is wrong with one patient.
    """
    if not is_remote(address):
        return Path(address)
    address = str(address)
    bucket, key = _parse(address)
    for last in (False, True):
        objects, single = _look_up(address, bucket, key)
        try:
            folder = _bring(address, objects)
        except _Changed:
            if last:
                break
            continue
        return folder / objects[0].name if single else folder
    raise Outage(address, "changes while it is being read", "run again when its upload is finished")


def read_object(address: str) -> bytes | None:
    """Bytes of a small object, always anew; None where there is none.

    Raises:
        BadInput: not an address, or access refused.
        Outage: see `local_copy`.
    """
    bucket, key = _parse(address)
    with _explained(address):
        try:
            return _client().get_object(Bucket=bucket, Key=key)["Body"].read()
        except _client().exceptions.NoSuchKey:
            return None


def write_object(address: str, content: bytes) -> None:
    """Write a small object: readers see the old one or this one.

    Raises:
        BadInput, Outage: see `read_object`.
    """
    bucket, key = _parse(address)
    with _explained(address):
        _client().put_object(Bucket=bucket, Key=key, Body=content)


def upload_object(source: Path, address: str, sha256: str) -> bool:
    """Upload a file, unless an object with this sha256 is there; returns whether it was not.

    Raises:
        BadInput, Outage: see `read_object`.
    """
    bucket, key = _parse(address)
    with _explained(address):
        found = _head(bucket, key)
        same = found is not None and found["Metadata"].get("sha256") == sha256
        if found is not None and same and found["ContentLength"] == source.stat().st_size:
            return False
        with source.open("rb") as stream:
            _client().put_object(Bucket=bucket, Key=key, Body=stream, Metadata={"sha256": sha256})
    return True


def sha256_object(address: str) -> str:
    """sha256 (hex) of what S3 gives back, read in chunks. Raises as `read_object`."""
    bucket, key = _parse(address)
    digest = hashlib.sha256()
    with _explained(address):
        for chunk in _client().get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(_CHUNK):
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
    bucket, key = _parse(address)
    with _explained(address, target.parent):
        found = _head(bucket, key)
        if found is None:
            raise BadInput(address, "no such object in S3", "check bucket and key")
        if found["ContentLength"] > limit:
            size = f"{found['ContentLength'] / 1e6:.1f} MB"
            raise BadInput(address, f"{size} is more than {limit / 1e6:g} MB", "refuse it")
        item = _Object(target.name, bucket, key, found["ContentLength"], found["ETag"])
        try:
            _download(address, item, target)
        except _Changed:
            raise Outage(address, "changed while it was read", "run again") from None


def _parse(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    if not bucket or not key.strip("/"):
        raise BadInput(address, "not an S3 address", "write s3://BUCKET/KEY")
    return bucket, key.rstrip("/")


def _look_up(address: str, bucket: str, key: str) -> tuple[list[_Object], bool]:
    """The objects behind an address, and whether it is one object rather than a prefix."""
    with _explained(address):
        found = _head(bucket, key)
        if found is not None:
            name = PurePosixPath(key).name
            return [_Object(name, bucket, key, found["ContentLength"], found["ETag"])], True
        pages = _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key + "/")
        entries = [entry for page in pages for entry in page.get("Contents", [])]
    objects = [
        _Object(entry["Key"][len(key) + 1 :], bucket, entry["Key"], entry["Size"], entry["ETag"])
        for entry in entries
        if not entry["Key"].endswith("/")
    ]
    if not objects:
        raise BadInput(address, "no such object in S3", "check bucket and key")
    for item in objects:
        if ".." in PurePosixPath(item.name).parts or item.name.startswith("/"):
            raise BadInput(address, f"an object named '{item.key}'", "rename it without '..'")
    return objects, False


def _head(bucket: str, key: str, **more: Any) -> dict[str, Any] | None:
    from botocore.exceptions import ClientError

    try:
        return _client().head_object(Bucket=bucket, Key=key, **more)
    except ClientError as error:
        if _status(error) == 404:
            return None
        raise


def _bring(address: str, objects: list[_Object]) -> Path:
    """Folder in the cache that holds `objects`; downloaded unless it is there."""
    endpoint = _client().meta.endpoint_url
    version = [(item.name, item.etag) for item in objects]
    shelf = cache_folder() / _short(endpoint, address)
    place = shelf / _short(json.dumps(sorted(version)))
    if place.exists():
        return place
    with _explained(address), _locked(shelf, place.name):
        if not place.exists():
            partial = shelf / f".{place.name}.part"
            partial.mkdir(exist_ok=True)
            for item in objects:
                _download(address, item, partial / item.name)
            partial.replace(place)
    return place


def _short(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


@contextmanager
def _locked(shelf: Path, name: str) -> Iterator[None]:
    shelf.mkdir(parents=True, exist_ok=True)
    with (shelf / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(address: str, item: _Object, target: Path) -> None:
    from botocore.exceptions import FlexibleChecksumError

    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.part")
    for _ in range(2):
        try:
            _append_rest(item, partial)
            whole = _is_whole(item, partial)
        except FlexibleChecksumError:
            whole = False
        if whole:
            partial.replace(target)
            return
        log.warning("%s: %s arrived altered", address, item.key)
        partial.unlink()
    raise Outage(address, "arrives altered, twice", "check the network, or upload it again")


def _append_rest(item: _Object, partial: Path) -> None:
    """Read the object's remaining bytes onto `partial`; failures in between are retried."""
    from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        if before >= item.size and partial.exists():
            return
        try:
            _read_from(item, before, partial)
        except (HTTPClientError, IncompleteReadError, ClientError) as error:
            if isinstance(error, ClientError):
                if _status(error) == 412:
                    partial.unlink(missing_ok=True)
                    raise _Changed from None
                if _status(error) < 500:
                    raise
            after = partial.stat().st_size if partial.exists() else 0
            failures = 0 if after > before else failures + 1
            if failures >= _attempts():
                raise
            wait = BACK_OFF_S * 2**failures
            log.warning("%s: %s at byte %d; again in %.1f s", item.key, error, after, wait)
            time.sleep(wait)


def _read_from(item: _Object, start: int, partial: Path) -> None:
    ranged = {"Range": f"bytes={start}-"} if start else {}
    answer = _client().get_object(Bucket=item.bucket, Key=item.key, IfMatch=item.etag, **ranged)
    with partial.open("ab") as stream:
        for chunk in answer["Body"].iter_chunks(_CHUNK):
            stream.write(chunk)


def _is_whole(item: _Object, file: Path) -> bool:
    """Whether size and, where the ETag is a digest of the content, the digest agree."""
    if file.stat().st_size != item.size:
        return False
    etag = item.etag.strip('"')
    composite = _COMPOSITE.fullmatch(etag)
    if not composite and not _MD5.fullmatch(etag):
        return True
    head = _head(item.bucket, item.key, **({"PartNumber": 1} if composite else {}))
    if head is None or "kms" in head.get("ServerSideEncryption", ""):
        return True
    if not composite:
        return _md5s(file, item.size)[0].hex() == etag
    parts = _md5s(file, head["ContentLength"])
    # A store that does not tell the size of its parts leaves only the size to compare.
    return len(parts) != int(composite[2]) or _md5(b"".join(parts)).hex() == composite[1]


def _md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()


def _md5s(file: Path, part_size: int) -> list[bytes]:
    """MD5 of each part of a file; one of nothing for an empty file."""
    digests: list[bytes] = []
    with file.open("rb") as stream:
        while True:
            digest, left = hashlib.md5(usedforsecurity=False), part_size
            while left and (chunk := stream.read(min(_CHUNK, left))):
                digest.update(chunk)
                left -= len(chunk)
            if left == part_size and digests:
                return digests
            digests.append(digest.digest())
            if left:
                return digests


@contextmanager
def _explained(address: str, folder: Path | None = None) -> Iterator[None]:
    """Turn boto's errors into ours; `folder` is where the copy goes, by default the cache."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except NoCredentialsError:
        raise Outage(
            address, "no AWS credentials", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    except ClientError as error:
        status = _status(error)
        if status in (401, 403):
            raise BadInput(address, "access refused by S3", "allow these credentials") from None
        if status == 404:
            raise BadInput(address, "no such object in S3", "check bucket and key") from None
        raise Outage(address, f"S3 answers {status}", "run again later") from None
    except BotoCoreError as error:
        raise Outage(
            address, f"S3 cannot be reached ({error})", "check AWS_ENDPOINT_URL and the network"
        ) from None
    except OSError as error:
        raise Outage(
            address,
            f"cannot be written to {folder or cache_folder()} ({error.strerror})",
            "make room (GLIOFLOW_CACHE moves the cache); the download goes on where it stopped",
        ) from None


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _attempts() -> int:
    return int(os.environ.get("AWS_MAX_ATTEMPTS", ATTEMPTS))


def _client() -> Any:
    return _client_of(os.getpid(), os.environ.get("AWS_ENDPOINT_URL", ""))


@lru_cache(maxsize=4)
def _client_of(process: int, endpoint: str) -> Any:
    """A client a process: connections must not be shared across a fork."""
    import boto3
    from botocore.config import Config

    retries = {"mode": "standard", "total_max_attempts": _attempts()}
    return boto3.Session().client(
        "s3", config=Config(retries=retries, connect_timeout=10, read_timeout=60)
    )
