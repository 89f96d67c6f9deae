"""What a client sent, as image files under names of ours; nothing that it claims is believed."""

from __future__ import annotations

import base64
import binascii
import io
import struct
import zipfile
import zlib
from pathlib import Path

from components.core.errors import BadInput
from components.core.imaging.nifti import HEADER_BYTES, check_end, layout_of
from components.core.imaging.nifti_stream import GZIP, DecodedFile
from components.release.settings import RequestLimits

MIB = 1 << 20
ZIP, EMPTY_ZIP = b"PK\x03\x04", b"PK\x05\x06"
"""First bytes of a ZIP, and of its end record, which is all of an empty one."""
FIRST = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big"))
"""The first four bytes of NIfTI-1 and NIfTI-2 files of either byte order."""
_KINDS = "give a NIfTI file (.nii, .nii.gz) or a ZIP of one DICOM series"
_DAMAGED = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
"""What reading an archive that is damaged, encrypted or of an unknown kind raises."""

_ENTRY = b"PK\x01\x02"
_BY_64_BITS = 0xFFFF
"""Stands for a number of files that another record tells."""
_ENTRIES_A_FILE = 3
"""Folders and hidden files are entries of a ZIP too: so many a file are let pass."""

_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Ways of compression of which zipfile reads no more than it was told to."""


def unpack(content: bytes, name: str, folder: Path, limits: RequestLimits) -> Path:
    """Write one file of a request into `folder`; a ZIP becomes a folder of numbered files.

    Args:
        content: the file's bytes.
        name: the tensor's; names what is written, and the subject of errors.

    Returns:
        `folder`/name.nii, or the folder `folder`/name.

    Raises:
        BadInput: neither kind of file, damaged, or beyond a limit.
    """
    if not content:
        raise BadInput(name, "empty", _KINDS)
    if content.startswith((ZIP, EMPTY_ZIP)):
        return _unpack_zip(content, name, folder / name, limits)
    path = folder / f"{name}.nii"
    if not content.startswith((GZIP, *FIRST)):
        raise BadInput(name, "neither NIfTI nor ZIP", _KINDS)
    path.write_bytes(_read_volume(DecodedFile(name, io.BytesIO(content)), name, limits))
    return path


def decoded(content: bytes) -> bytes:
    """Bytes as they are, or what they are the base64 of: JSON cannot carry bytes."""
    if content.startswith((GZIP, ZIP, *FIRST)):
        return content
    try:
        decoded = base64.b64decode(content, validate=True)
    except binascii.Error:
        return content
    return decoded if decoded.startswith((GZIP, ZIP, *FIRST)) else content


def _read_volume(content: DecodedFile, name: str, limits: RequestLimits) -> bytearray:
    """A NIfTI file; what its header claims is checked before the rest is read."""
    layout = layout_of(name, content.peek(HEADER_BYTES))
    if layout.voxels > limits.voxels:
        raise BadInput(name, f"more than {limits.voxels} voxels", "send one 3-D volume")
    if layout.end > limits.unpacked_mb * MIB:
        raise BadInput(
            name, f"more than {limits.unpacked_mb} MiB uncompressed", "send one 3-D volume"
        )
    volume = content.read(layout.end)
    if len(volume) < layout.end:
        raise BadInput(name, "it ends early", "copy it again")
    check_end(name, content, layout)
    return volume


def _unpack_zip(content: bytes, name: str, folder: Path, limits: RequestLimits) -> Path:
    too_many = BadInput(name, f"a ZIP of more than {limits.zip_files} files", "send one series")
    if content.count(_ENTRY) > _ENTRIES_A_FILE * limits.zip_files:
        # Before its directory is read: an entry takes ten times the bytes there.
        raise too_many
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_count(content, len(archive.infolist()))
            entries = [entry for entry in archive.infolist() if _wanted(entry)]
            if len(entries) > limits.zip_files:
                raise too_many
            _check_entries(entries, name)
            return _extract(archive, entries, name, folder, limits)
    except _DAMAGED:
        raise BadInput(name, "a damaged or unusual ZIP", "compress the series again") from None


def _check_count(content: bytes, found: int) -> None:
    """Raises BadZipFile where the end record tells another number of files than were found.

    One damaged length in the directory hides the entries behind it, and zipfile does not mind.
    """
    end = content.rfind(EMPTY_ZIP)
    told = int.from_bytes(content[end + 10 : end + 12], "little")
    if told not in (found, _BY_64_BITS):
        raise zipfile.BadZipFile("files are missing from the directory")


def _check_entries(entries: list[zipfile.ZipInfo], name: str) -> None:
    if not entries:
        raise BadInput(name, "a ZIP without files", _KINDS)
    if any(entry.flag_bits & 1 for entry in entries):
        raise BadInput(name, "an encrypted ZIP", "compress the series without a password")
    if any(entry.compress_type not in _BOUNDED for entry in entries):
        raise BadInput(name, "a ZIP of an unusual kind", "compress the series by deflate")


def _extract(
    archive: zipfile.ZipFile,
    entries: list[zipfile.ZipInfo],
    name: str,
    folder: Path,
    limits: RequestLimits,
) -> Path:
    left = limits.unpacked_mb * MIB
    too_much = BadInput(name, f"more than {limits.unpacked_mb} MiB uncompressed", "send one series")
    if sum(entry.file_size for entry in entries) > left:
        raise too_much
    folder.mkdir()
    for index, entry in enumerate(sorted(entries, key=lambda entry: entry.filename)):
        with archive.open(entry) as stream:
            found = stream.read(left + 1)
        left -= len(found)
        if left < 0:
            raise too_much
        if found.startswith((ZIP, GZIP)):
            raise BadInput(name, "an archive within the ZIP", "put the DICOM files into the ZIP")
        (folder / f"{index:05d}").write_bytes(found)
    return folder


def _wanted(entry: zipfile.ZipInfo) -> bool:
    """Leave out folders, and what macOS and file managers add."""
    *_, last = entry.filename.split("/")
    return not (entry.is_dir() or last.startswith(".") or entry.filename.startswith("__MACOSX/"))
