"""Files that must not enter the registry: pickles, paths that leave their folder, giants."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from components.core.errors import BadInput

ALLOWED_SUFFIXES = frozenset(
    {".json", ".csv", ".parquet", ".yaml", ".html", ".css", ".md", ".txt", ".png", ".svg"}
    | {".safetensors", ".onnx", ".data", ".npy", ".npz", ".pbtxt", ".py", ".gz", ".sig"}
)
"""Anything else has no business in a release; pickle formats are absent on purpose."""

SAFETENSORS_HEADER_LIMIT = 100_000_000
"""Bytes; the format's own limit on its JSON header."""

_PICKLE_MAGIC = tuple(b"\x80" + bytes([protocol]) for protocol in (2, 3, 4, 5))
_TRUST = "use a model from a source you trust, exported as safetensors or ONNX"


def screen_tree(folder: Path, max_file_mb: float) -> None:
    """Refuse a folder that holds a file that could run code or escape when it is loaded.

    Raises BadInput: a link, an unknown kind of file, one above `max_file_mb`, a pickle (also inside
    .npy and .npz), a broken safetensors header, an ONNX that reads outside its folder.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise BadInput(path, "a link", "put the file itself there")
        if path.is_file():
            _screen_file(path, max_file_mb)


def safe_join(folder: Path, name: str) -> Path:
    """`folder`/`name` for a relative POSIX `name`. Raises BadInput when it would leave `folder`."""
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name:
        raise BadInput(folder, f"path {name!r} leaves its folder", _TRUST)
    return folder / pure


def _screen_file(path: Path, max_file_mb: float) -> None:
    size = path.stat().st_size
    if size > max_file_mb * 1e6:
        raise BadInput(
            path,
            f"{size / 1e6:.1f} MB is more than {max_file_mb:g} MB",
            "publish.max_file_mb in the profile sets the limit",
        )
    if path.suffix not in ALLOWED_SUFFIXES:
        raise BadInput(path, f"files of kind '{path.suffix}' are refused", _TRUST)
    with path.open("rb") as stream:
        if stream.read(2) in _PICKLE_MAGIC:
            raise BadInput(path, "holds a pickle", _TRUST)
    checks = {
        ".safetensors": _screen_safetensors,
        ".npy": _screen_npy,
        ".npz": _screen_npz,
        ".onnx": _screen_onnx,
    }
    if path.suffix in checks:
        checks[path.suffix](path)
    elif zipfile.is_zipfile(path):
        raise BadInput(path, "an archive under another name", _TRUST)


def _screen_safetensors(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(SAFETENSORS_HEADER_LIMIT, path.stat().st_size - 8):
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(stream.read(length))
        ends = [e["data_offsets"][1] for name, e in header.items() if name != "__metadata__"]
        if 8 + length + max(ends, default=0) != path.stat().st_size:
            raise ValueError("its tensors do not fill the file")
    except (ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise BadInput(path, f"not a safetensors file ({error})", _TRUST) from None


def _screen_npy(path: Path) -> None:
    import numpy as np

    try:
        np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BadInput(path, f"not a plain array ({error})", _TRUST) from None


def _screen_npz(path: Path) -> None:
    from numpy.lib import format as npy

    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                safe_join(path.parent, name)
                with archive.open(name) as stream:
                    first = npy.read_magic(stream)[0] == 1
                    read = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
                    _, _, dtype = read(stream)
                if dtype.hasobject:
                    raise ValueError(f"member {name} holds a pickle")
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise BadInput(path, f"not plain arrays ({error})", _TRUST) from None


def _screen_onnx(path: Path) -> None:
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        # protobuf's DecodeError has no importable home that is stable across its versions.
        raise BadInput(path, f"not an ONNX model ({type(error).__name__})", _TRUST) from None
    for location in _external_locations(model):
        safe_join(path.parent, location)


def _external_locations(model: Any) -> Iterator[str]:
    for tensor in model.graph.initializer:
        yield from (e.value for e in tensor.external_data if e.key == "location")
    for node in model.graph.node:
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors):
                yield from (e.value for e in tensor.external_data if e.key == "location")
