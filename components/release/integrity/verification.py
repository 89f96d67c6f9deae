"""Before a release is served: are its bytes those that were exported?"""

from __future__ import annotations

from pathlib import Path

from components.core.errors import BadInput
from components.core.files import sha256_tree
from components.release.manifest import RELEASE_FILE
from components.release.release import Release, read_release, release_id

_REMEDY = "export the release again, or fetch it again from the registry"


def verify_release(folder: Path | str) -> Release:
    """Compare every file of a repository with release.json, and its id with both.

    Raises:
        BadInput: not a release; or the first file that is missing, altered or not listed; or an id
            that does not follow from the files.
    """
    release = read_release(folder)
    found = sha256_tree(release.folder)
    found.pop(RELEASE_FILE)
    for name in sorted(found.keys() | release.files.keys()):
        if name not in found:
            raise BadInput(release.folder / name, "missing from the release", _REMEDY)
        if name not in release.files:
            raise BadInput(release.folder / name, "not named in release.json", _REMEDY)
        if found[name] != release.files[name]:
            raise BadInput(release.folder / name, "altered since the export", _REMEDY)
    if release_id(found) != release.release:
        raise BadInput(
            release.folder / RELEASE_FILE, f"'{release.release}' is not its files' name", _REMEDY
        )
    return release
