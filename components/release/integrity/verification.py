"""Whether the files of a release are those that were exported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from components.core.errors import BadInput
from components.core.files import sha256_tree
from components.release.integrity.scan import safe_join
from components.release.integrity.signature import DOCUMENTS
from components.release.manifest import RELEASE_FILE
from components.release.release import Release, read_release, release_id

_REMEDY = "export the release again, or fetch it again from the registry"


def verify_files(folder: Path, listed: Mapping[str, str]) -> None:
    """Check that `folder` holds exactly the files that its release.json lists, byte for byte.

    Its documents are left out: they are made after the export, and the signature holds them.

    Args:
        listed: relative POSIX path -> sha256 (hex).

    Raises:
        BadInput: a listed path leaves the folder, or the first file that is missing, altered or
            not listed.
    """
    for name in listed:
        safe_join(folder, name)
    found = {n: sha for n, sha in sha256_tree(folder).items() if not n.startswith(f"{DOCUMENTS}/")}
    found.pop(RELEASE_FILE, None)
    for name in sorted(found.keys() | listed.keys()):
        if name not in found:
            raise BadInput(folder / name, "is missing, and named in release.json", _REMEDY)
        if name not in listed:
            raise BadInput(folder / name, "is not named in release.json", _REMEDY)
        if found[name] != listed[name]:
            raise BadInput(folder / name, "differs from release.json", _REMEDY)


def verify_release(folder: Path | str) -> Release:
    """Check every file of a repository, and that its id follows from them.

    Raises BadInput: not a release; see `verify_files`; or another id.
    """
    release = read_release(folder)
    verify_files(release.folder, release.manifest.files)
    if release_id(release.manifest.files) != release.release:
        raise BadInput(
            release.folder / RELEASE_FILE, f"'{release.release}' is not its files' name", _REMEDY
        )
    return release
