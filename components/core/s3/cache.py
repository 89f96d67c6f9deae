"""Local copies of what lies in S3, named by ETag: read once, and anew when it changes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath

from filelock import FileLock

from components.core.errors import BadInput, Outage, Unreachable
from components.core.s3.address import is_remote, parse, s3_cache_folder
from components.core.s3.client import client, head, s3_error
from components.core.s3.download import ChangedMeanwhile, RemoteObject, download


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
    bucket, key = parse(address)
    for last in (False, True):
        objects, single = _look_up(address, bucket, key)
        try:
            folder = _bring(address, objects)
        except ChangedMeanwhile:
            if last:
                break
            continue
        return folder / objects[0].name if single else folder
    raise Outage(address, "changes while it is being read", "run again when its upload is finished")


def _look_up(address: str, bucket: str, key: str) -> tuple[list[RemoteObject], bool]:
    """The objects behind an address, and whether it is one object rather than a prefix."""
    with s3_error(address):
        found = head(bucket, key)
        if found is not None:
            name = PurePosixPath(key).name
            return [RemoteObject(name, bucket, key, found["ContentLength"], found["ETag"])], True
        pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key + "/")
        entries = [entry for page in pages for entry in page.get("Contents", [])]
    objects = [
        RemoteObject(
            entry["Key"][len(key) + 1 :], bucket, entry["Key"], entry["Size"], entry["ETag"]
        )
        for entry in entries
        if not entry["Key"].endswith("/")
    ]
    if not objects:
        raise Unreachable(address, "no such object in S3", "check bucket and key")
    for item in objects:
        if ".." in PurePosixPath(item.name).parts or item.name.startswith("/"):
            raise BadInput(address, f"an object named '{item.key}'", "rename it without '..'")
    return objects, False


def _bring(address: str, objects: list[RemoteObject]) -> Path:
    """Folder in the cache that holds `objects`; downloaded unless it is there."""
    endpoint = client().meta.endpoint_url
    version = [(item.name, item.etag) for item in objects]
    shelf = s3_cache_folder() / _short(endpoint, address)
    place = shelf / _short(json.dumps(sorted(version)))
    if place.exists():
        return place
    with s3_error(address):
        shelf.mkdir(parents=True, exist_ok=True)
        with FileLock(shelf / f".{place.name}.lock"):
            if not place.exists():
                partial = shelf / f".{place.name}.part"
                partial.mkdir(exist_ok=True)
                for item in objects:
                    download(address, item, partial / item.name)
                partial.replace(place)
    return place


def _short(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def remote_version(address: str) -> str:
    """sha256 (hex) over names, sizes and ETags of what lies at an address; nothing is brought.

    Raises BadInput, Outage: as `local_copy`.
    """
    objects, _ = _look_up(address, *parse(address))
    facts = sorted((item.name, item.size, item.etag) for item in objects)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
