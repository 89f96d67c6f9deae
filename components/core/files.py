"""Files that are either whole or absent, and their digests."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from components.core.errors import BadInput

CACHE_VARIABLE = "GLIOFLOW_CACHE"
"""Environment variable: folder of what is fetched or built once (default ~/.cache/glioflow)."""

_CHUNK = 1 << 20


def cache_folder() -> Path:
    """$GLIOFLOW_CACHE, or ~/.cache/glioflow; it may be deleted whenever nothing runs."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "glioflow")


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to; rename it onto `path` on success.

    The temporary name keeps the suffixes of `path`: image writers choose their format by them.
    Works for a file or a folder, created by the caller. On an exception nothing is left behind.
    """
    path = Path(path)
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):
        # ITK ends the process at a name whose bytes are no UTF-8.
        raise BadInput(ascii(str(path)), "a name that is not UTF-8", "rename the folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        if path.is_dir() and temporary.is_dir():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, content: Any) -> None:
    """Write `content` as indented, key-sorted JSON, atomically. NaN is refused (ValueError)."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_arrays(path: Path | str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as numpy.savez_compressed does, atomically, and to the same bytes anywhere.

    numpy leaves the frame of the archive to Python's zipfile, whose patch releases differ in it.
    """
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy")
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED)


def require_folder(out: Path) -> None:
    """Refuse an output folder that is a file. Raises BadInput."""
    if out.exists() and not out.is_dir():
        raise BadInput(out, "a file, not a folder", "give another --out")


@contextmanager
def replacing(out: Path, names: Iterable[str]) -> Iterator[Path]:
    """Yield a folder to make files in; on success they move to `out`, in this order.

    Names that were not made go from `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".partial-") as aside:
        made = Path(aside)
        yield made
        for name in names:
            if (made / name).exists():
                (made / name).replace(out / name)
            else:
                (out / name).unlink(missing_ok=True)


def read_json(path: Path | str) -> Any:
    """Parse a JSON file."""
    return json.loads(Path(path).read_text())


def sha256_file(path: Path | str) -> str:
    """sha256 (hex) of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_tree(folder: Path | str) -> dict[str, str]:
    """Relative POSIX path -> sha256 of every file under `folder`, sorted by path."""
    folder = Path(folder)
    return {
        file.relative_to(folder).as_posix(): sha256_file(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def link_tree(source: Path, target: Path) -> None:
    """Give the files of a folder second names below `target`; see `link_or_copy`."""
    shutil.copytree(source, target, copy_function=link_or_copy)


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """Give a file a second name; copy its bytes where the two lie on different disks."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    try:
        Path(target).hardlink_to(Path(source).resolve())
    except OSError:
        shutil.copyfile(source, target)
