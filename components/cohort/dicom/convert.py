"""A DICOM series as an image without a patient: converted by dcm2niix, stripped of its header."""

from __future__ import annotations

import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence as Several
from pathlib import Path

import SimpleITK as sitk

from components.cohort.dicom.headers import Instance, read_instances
from components.cohort.dicom.slice_order import order_stack
from components.core.errors import BadInput
from components.core.imaging.grid import Grid

CONVERSION_S = 600
"""Seconds after which a conversion is given up."""

MISPLACED = 0.05
"""Voxels that a slice may lie away from where its header says, by rounding."""


def read_series(folder: Path) -> sitk.Image:
    """Read the one series in a folder, or in a file (an enhanced object).

    Raises:
        BadInput: no series, several, or one that does not stack up to a volume.
    """
    files = [folder] if folder.is_file() else sorted(p for p in folder.iterdir() if p.is_file())
    images, _ = read_instances(files)
    if not images:
        raise BadInput(folder, "a folder without a DICOM series", "give the folder of one series")
    series = Counter(image.series for image in images)
    if len(series) > 1:
        raise BadInput(
            folder, f"a folder with {len(series)} DICOM series", "give the folder of one series"
        )
    ordered, _ = order_stack(folder, images)
    return convert(folder, ordered)


def convert(name: object, images: Several[Instance]) -> sitk.Image:
    """Convert an ordered stack; the result holds voxels and geometry, no word of the header.

    Raises:
        BadInput: `name` as its subject; dcm2niix cannot convert it to one volume.
    """
    import dcm2niix

    files = Counter(image.path for image in images)
    if any(image.frames > files[image.path] for image in images):
        raise BadInput(
            name,
            "one of several volumes in a multi-frame object",
            "export each volume as its own series, or convert it to NIfTI",
        )
    with tempfile.TemporaryDirectory(prefix="glioflow-dicom-") as scratch:
        given, made = Path(scratch) / "in", Path(scratch) / "out"
        given.mkdir()
        made.mkdir()
        for index, path in enumerate(files):
            (given / f"{index:05d}.dcm").symlink_to(path.resolve())
        # -m y: what order_stack found to be one stack is not to be taken apart again.
        options = ["-b", "n", "-z", "n", "-m", "y", "-f", "volume", "-o", str(made)]
        try:
            # What it prints may quote the header, and goes nowhere.
            subprocess.run(
                [dcm2niix.bin, *options, str(given)], capture_output=True, timeout=CONVERSION_S
            )
        except subprocess.TimeoutExpired:
            raise BadInput(
                name, f"no conversion within {CONVERSION_S} s", "export the series again"
            ) from None
        volumes = sorted(made.glob("*.nii"))
        if len(volumes) != 1:
            raise BadInput(
                name, f"dcm2niix makes {len(volumes)} volumes of it", "export the series again"
            )
        volume = sitk.ReadImage(str(volumes[0]))
    if volume.GetDimension() != 3 or len(images) not in volume.GetSize():
        raise BadInput(
            name,
            f"{len(images)} slices became a volume of {volume.GetSize()}",
            "export the series again",
        )
    for image in (images[0], images[-1]):
        _refuse_elsewhere(name, volume, image)
    return Grid.of(volume).image(sitk.GetArrayFromImage(volume))


def _refuse_elsewhere(name: object, volume: sitk.Image, image: Instance) -> None:
    """The first voxel of a slice lies where its header says, in a corner of the volume."""
    assert image.position is not None
    index = volume.TransformPhysicalPointToContinuousIndex(image.position)
    ends = zip(index, volume.GetSize(), strict=True)
    if max(min(abs(at), abs(at - (size - 1))) for at, size in ends) > MISPLACED:
        raise BadInput(
            name, "the converted volume lies elsewhere than its slices", "convert it to NIfTI"
        )
