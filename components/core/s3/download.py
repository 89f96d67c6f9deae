"""One object brought to disk: verified by its ETag, retried, resumed from its last byte."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path

from components.core.errors import Outage
from components.core.s3.client import CHUNK, attempts, client, head, status_of

log = logging.getLogger(__name__)

BACK_OFF_S = 0.5
"""Wait before the second attempt; doubled at each further one."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_COMPOSITE = re.compile(r"([0-9a-f]{32})-(\d+)")


@dataclass(frozen=True)
class RemoteObject:
    """One object to bring: its name below the address asked for, and what S3 says of it."""

    name: str
    bucket: str
    key: str
    size: int
    etag: str


class ChangedMeanwhile(Exception):
    """The object was replaced while it was being read."""


def download(address: str, item: RemoteObject, target: Path) -> None:
    """Bring `item` to `target`, unless it is there; `target` is whole or absent.

    Raises:
        ChangedMeanwhile: the object was replaced.
        Outage: it arrives altered, twice.
    """
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


def _append_rest(item: RemoteObject, partial: Path) -> None:
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
                if status_of(error) == 412:
                    partial.unlink(missing_ok=True)
                    raise ChangedMeanwhile from None
                if status_of(error) < 500:
                    raise
            after = partial.stat().st_size if partial.exists() else 0
            failures = 0 if after > before else failures + 1
            if failures >= attempts():
                raise
            wait = BACK_OFF_S * 2**failures
            log.warning("%s: %s at byte %d; again in %.1f s", item.key, error, after, wait)
            time.sleep(wait)


def _read_from(item: RemoteObject, start: int, partial: Path) -> None:
    ranged = {"Range": f"bytes={start}-"} if start else {}
    answer = client().get_object(Bucket=item.bucket, Key=item.key, IfMatch=item.etag, **ranged)
    with partial.open("ab") as stream:
        for chunk in answer["Body"].iter_chunks(CHUNK):
            stream.write(chunk)


def _is_whole(item: RemoteObject, file: Path) -> bool:
    """Whether size and, where the ETag is a digest of the content, the digest agree."""
    if file.stat().st_size != item.size:
        return False
    etag = item.etag.strip('"')
    composite = _COMPOSITE.fullmatch(etag)
    if not composite and not _MD5.fullmatch(etag):
        return True
    found = head(item.bucket, item.key, **({"PartNumber": 1} if composite else {}))
    if found is None or "kms" in found.get("ServerSideEncryption", ""):
        return True
    if not composite:
        return _md5s(file, item.size)[0].hex() == etag
    parts = _md5s(file, found["ContentLength"])
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
            while left and (chunk := stream.read(min(CHUNK, left))):
                digest.update(chunk)
                left -= len(chunk)
            if left == part_size and digests:
                return digests
            digests.append(digest.digest())
            if left:
                return digests
