"""A DICOM series as an image without a patient: converted by dcm2niix, stripped of its header."""

from __future__ import annotations

import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence as Several
from pathlib import Path

import SimpleITK as sitk

from components.cohort.dicom.headers import Instance, read_instances
from components.cohort.dicom.stack import order_stack
from components.cohort.errors import BadInput
from components.cohort.grid import Grid

CONVERSION_S = 600
"""Seconds after which a conversion is given up."""


def read_series(folder: Path) -> sitk.Image:
    """Read the one series in a folder.

    Raises:
        BadInput: no series, several, or one that does not stack up to a volume.
    """
    images, _ = read_instances(sorted(path for path in folder.iterdir() if path.is_file()))
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

    with tempfile.TemporaryDirectory(prefix="glioflow-dicom-") as scratch:
        given, made = Path(scratch) / "in", Path(scratch) / "out"
        given.mkdir()
        made.mkdir()
        for index, image in enumerate(images):
            (given / f"{index:05d}.dcm").symlink_to(image.path.resolve())
        # -m y: what order_stack found to be one stack is not to be taken apart again.
        options = ["-b", "n", "-z", "n", "-m", "y", "-f", "volume", "-o", str(made)]
        try:
            done = subprocess.run(
                [dcm2niix.bin, *options, str(given)],
                capture_output=True,
                text=True,
                timeout=CONVERSION_S,
            )
            problem = (done.stdout + done.stderr).strip().splitlines()[-1:] or ["no message"]
        except subprocess.TimeoutExpired:
            problem = [f"no end after {CONVERSION_S} s"]
        volumes = sorted(made.glob("*.nii"))
        if len(volumes) != 1:
            raise BadInput(
                name, f"not convertible to one volume ({problem[0]})", "export the series again"
            )
        volume = sitk.ReadImage(str(volumes[0]))
    if volume.GetDimension() != 3 or len(images) not in volume.GetSize():
        raise BadInput(
            name,
            f"{len(images)} slices became a volume of {volume.GetSize()}",
            "export the series again",
        )
    return Grid.of(volume).image(sitk.GetArrayFromImage(volume))
