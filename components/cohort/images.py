"""Reading and writing one image: a NIfTI file or a DICOM series folder, always as 3-D SimpleITK."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from components.core.errors import BadInput, Unreachable
from components.core.files import atomic, sha256_file, sha256_tree
from components.core.imaging.nifti import read_nifti
from components.core.s3 import is_remote, local_copy

log = logging.getLogger(__name__)

# ITK's own warnings go to the console, and say nothing that is not checked here.
sitk.ProcessObject.SetGlobalWarningDisplay(False)

MIN_SLICES = 3
"""Fewer slices along any axis than this is a localiser, not a volume."""

_PREAMBLE_BYTES = 128


def read_image(path: Path | str) -> sitk.Image:
    """Read an MRI volume as float32 with its geometry, padding values taken for air.

    Args and errors as of `read_voxels`; what was mended is logged.
    """
    image, notes = read_noted(path)
    for note in notes:
        log.warning("%s: %s", path, note)
    return image


def read_noted(path: Path | str) -> tuple[sitk.Image, tuple[str, ...]]:
    """As `read_image`, with what was mended on the way in words, which are not logged."""
    image, notes = _read(path)
    image, padding = fill_padding(image)
    if padding is None:
        return image, notes
    return image, (*notes, f"voxels of {padding:g} outside the field of view are read as air")


def read_voxels(path: Path | str) -> sitk.Image:
    """Read a 3-D image as float32 with its geometry; trailing axes of length one are dropped.

    Args:
        path: a NIfTI file, a folder with one DICOM series, or an enhanced (multi-frame) DICOM file;
            on disk or as an s3:// address.

    Raises:
        BadInput: missing, no image, damaged, not 3-D, too thin, without a certain place in the
            body, or with NaN or infinite voxels.
    """
    image, _ = _read(path)
    return image


def _read(path: Path | str) -> tuple[sitk.Image, tuple[str, ...]]:
    if not is_remote(path):
        return _read_local(Path(path))
    copy = local_copy(path)
    try:
        return _read_local(copy)
    except BadInput as error:
        raise type(error)(path, error.problem, error.remedy) from None


def image_digest(path: Path | str) -> str:
    """sha256 (hex) of an image file's bytes, or of the sorted digests of a DICOM folder's files.

    An s3:// address has that of what it holds.

    Raises:
        BadInput: nothing is there.
        Outage: S3 is away.
    """
    local = local_copy(path) if is_remote(path) else Path(path)
    if local.is_file():
        return sha256_file(local)
    joined = "\n".join(sorted(sha256_tree(local).values()))
    return hashlib.sha256(joined.encode()).hexdigest()


def fill_padding(image: sitk.Image) -> tuple[sitk.Image, float | None]:
    """Scanners write one value far from all others outside the field of view: make it air.

    It is recognised where most corners of the volume hold it, it is an extreme, and the gap to the
    next value is a tenth of the others' range (below them) or twice that range (above).

    Returns:
        The image, padding replaced by the darkest other value, and the padding value; the same
        image and None where there is none.
    """
    array = sitk.GetArrayViewFromImage(image)
    corners = array[:: array.shape[0] - 1, :: array.shape[1] - 1, :: array.shape[2] - 1].ravel()
    low, high = float(array.min()), float(array.max())
    for value, least_gap in ((low, 0.1), (high, 2.0)):
        if (corners == value).sum() <= len(corners) // 2 or value in (0.0, -0.0) or low == high:
            continue
        others = array != value
        darkest = float(array.min(where=others, initial=high))
        brightest = float(array.max(where=others, initial=low))
        gap = darkest - value if value == low else value - brightest
        if (value < 0 or value == high) and gap > least_gap * max(brightest - darkest, 1e-6):
            return sitk.Threshold(image, darkest, brightest, darkest), value
    return image, None


def _read_local(path: Path) -> tuple[sitk.Image, tuple[str, ...]]:
    try:
        if not path.exists():
            raise Unreachable(
                path, "no such image", "give a NIfTI file or a folder with one DICOM series"
            )
        image, notes = _read_any(path)
    except OSError as error:
        raise Unreachable(path, f"cannot be opened ({error.strerror})", "check the path") from None
    if min(image.GetSize()) < MIN_SLICES:
        raise BadInput(path, f"size {image.GetSize()} is too thin", "give the whole volume")
    return image, notes


def _read_any(path: Path) -> tuple[sitk.Image, tuple[str, ...]]:
    if is_dicom(path):
        from components.cohort.dicom.convert import read_series

        series, notes = read_series(path)
        image = sitk.Cast(series, sitk.sitkFloat32)
        if not np.isfinite(sitk.GetArrayViewFromImage(image)).all():
            raise BadInput(path, "NaN or infinite voxels", "export the image again")
        return image, notes
    if not path.is_file():
        raise BadInput(path, "neither a file nor a folder", "give a NIfTI file")
    found = read_nifti(path)
    return found.image, found.notes


def is_dicom(path: Path) -> bool:
    """Whether a path is a folder, or a file that says it is DICOM, with or without a preamble."""
    if path.is_dir():
        return True
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        start = stream.read(_PREAMBLE_BYTES + 4)
    return start[_PREAMBLE_BYTES:] == b"DICM" or _is_bare_dicom(start)


def _is_bare_dicom(start: bytes) -> bool:
    """Whether a file begins with one of DICOM's first tags, and its type or length."""
    group, element = start[:2], int.from_bytes(start[2:4], "little")
    typed = start[4:6].isalpha() and start[4:6].isupper()
    length = int.from_bytes(start[4:8], "little")
    return group in (b"\x02\x00", b"\x08\x00") and element <= 0x18 and (typed or length <= 1024)


def write_image(path: Path | str, image: sitk.Image) -> None:
    """Write a NIfTI file atomically, compressed when the name ends in .gz."""
    with atomic(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=str(path).endswith(".gz"))
