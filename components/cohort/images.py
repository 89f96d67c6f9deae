"""Reading and writing one image: a NIfTI file or a DICOM series folder, always as 3-D SimpleITK."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from components.core.errors import BadInput
from components.core.files import atomic
from components.core.s3 import is_remote, local_copy

MIN_SLICES = 3
"""Fewer slices along any axis than this is a localiser, not a volume."""


def read_image(path: Path | str) -> sitk.Image:
    """Read a 3-D image as float32 with its geometry; a trailing axis of length one is dropped.

    Args:
        path: a NIfTI file, a folder with one DICOM series, or an enhanced (multi-frame) DICOM file;
            on disk or as an s3:// address.

    Raises:
        BadInput: missing, no image, cut short, not 3-D, too thin, or with NaN or infinite voxels.
    """
    if not is_remote(path):
        return _read_local(Path(path))
    copy = local_copy(path)
    try:
        return _read_local(copy)
    except BadInput as error:
        raise BadInput(path, error.problem, error.remedy) from None


def _read_local(path: Path) -> sitk.Image:
    if not path.exists():
        raise BadInput(path, "no such image", "give a NIfTI file or a folder with one DICOM series")
    try:
        image = _read_dicom(path) if is_dicom(path) else sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise BadInput(
            path, f"not a readable image ({reason})", "export it again as NIfTI"
        ) from None
    if path.name.endswith((".nii", ".nii.gz")):
        _check_nifti(path)
    image = _as_3d(path, image)
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise BadInput(path, "a colour image", "give a single-channel MRI volume")
    if min(image.GetSize()) < MIN_SLICES:
        raise BadInput(path, f"size {image.GetSize()} is too thin", "give the whole volume")
    image = sitk.Cast(image, sitk.sitkFloat32)
    if not np.isfinite(sitk.GetArrayViewFromImage(image)).all():
        raise BadInput(path, "NaN or infinite voxels", "export the image again")
    return image


def is_dicom(path: Path) -> bool:
    """Whether a path is a folder, or a file that says it is DICOM: an enhanced object."""
    if path.is_dir():
        return True
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _read_dicom(path: Path) -> sitk.Image:
    from components.cohort.dicom.convert import read_series

    return read_series(path)


def _check_nifti(path: Path) -> None:
    """Refuse what ITK's NIfTI reader passes over: it fills a file cut short, and turns NaN into 0.

    Raises:
        BadInput: the file ends early, or holds NaN or infinite voxels.
    """
    try:
        values = np.asanyarray(nibabel.nifti1.load(path).dataobj)
    except (OSError, EOFError, ValueError, zlib.error, nibabel.filebasedimages.ImageFileError):
        raise BadInput(path, "not a readable image (it ends early)", "copy it again") from None
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BadInput(path, "NaN or infinite voxels", "export the image again")


def _as_3d(path: Path, image: sitk.Image) -> sitk.Image:
    size = image.GetSize()
    if image.GetDimension() == 4 and size[3] == 1:
        return image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise BadInput(
            path, f"a {image.GetDimension()}-D image of size {size}", "give one 3-D volume"
        )
    return image


def write_image(path: Path | str, image: sitk.Image) -> None:
    """Write a NIfTI file atomically, compressed when the name ends in .gz."""
    with atomic(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=str(path).endswith(".gz"))
