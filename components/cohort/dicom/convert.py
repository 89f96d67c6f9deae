"""A DICOM series as an image without a patient: converted by dcm2niix, stripped of its header."""

from __future__ import annotations

import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence as Several
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from components.cohort.dicom.headers import Instance, read_instances
from components.cohort.dicom.selection.sequence_type import no_anatomy
from components.cohort.dicom.slice_order import order_stack, rounding_mm, stack_grid
from components.cohort.dicom.stacks import NO_MAGNITUDE, by_series, derived_kind, join_series, split
from components.core.errors import BadInput
from components.core.imaging.grid import Grid

CONVERSION_S = 600
"""Seconds after which a conversion is given up."""

MISPLACED = 0.05
"""Voxels that a slice may lie away from where its header says, by rounding."""


def read_series(folder: Path) -> tuple[sitk.Image, tuple[str, ...]]:
    """Read the one series in a folder, or in a file (an enhanced object); with what was mended.

    Phase, real and imaginary images and localisers beside it are set aside.

    Raises:
        BadInput: no series, several, or one that does not stack up to one volume.
    """
    files = [folder] if folder.is_file() else sorted(p for p in folder.iterdir() if p.is_file())
    images, others = read_instances(files)
    if not images:
        raise BadInput(folder, "a folder without a DICOM series", "give the folder of one series")
    if len({image.series for image in images}) > 1 and len(join_series(by_series(images))) > 1:
        series = Counter(image.series for image in images)
        raise BadInput(
            folder, f"a folder with {len(series)} DICOM series", "give the folder of one series"
        )
    found = split(images)
    stacks = [stack for stack in found if derived_kind(stack[0]) not in NO_MAGNITUDE]
    if len(stacks) > 1:
        raise BadInput(
            folder, f"{len(stacks)} volumes in one series", "give one of them in its own folder"
        )
    if not stacks:
        raise BadInput(folder, "phase or derived images only", "give the magnitude images")
    _refuse_no_anatomy(folder, stacks[0][0])
    ordered, notes = order_stack(folder, stacks[0])
    aside = sum(len(stack) for stack in found) - len(stacks[0])
    if aside:
        notes.append(f"{aside} phase or derived images beside the magnitude were set aside")
    if others:
        notes.append(f"{others} files that are no readable DICOM image were passed over")
    if len({image.series for image in ordered}) > 1:
        notes.append("series that continue each other were joined")
    return convert(folder, ordered), tuple(notes)


def _refuse_no_anatomy(folder: Path, image: Instance) -> None:
    """Raises BadInput for what no sequence is, whatever the manifest calls it."""
    other = image.modality not in ("", "MR", "SEG")
    told = f"modality {image.modality}, not MRI" if other else no_anatomy(image)
    if told:
        raise BadInput(folder, f"no anatomical MRI: {told}", "give the original magnitude images")


def convert(name: object, images: Several[Instance]) -> sitk.Image:
    """Convert an ordered stack; the result holds voxels and geometry, no word of the header.

    Raises:
        BadInput: `name` as its subject; dcm2niix cannot convert it to one volume.
    """
    files = Counter(image.path for image in images)
    if any(image.frames > files[image.path] for image in images):
        raise BadInput(
            name,
            "one of several volumes in a multi-frame object",
            "export each volume as its own series, or convert it to NIfTI",
        )
    cut = len({image.series for image in images}) > 1
    odd = {image.path for image in images if cut or not image.plain}
    with tempfile.TemporaryDirectory(prefix="glioflow-dicom-") as scratch:
        given, made = Path(scratch) / "in", Path(scratch) / "out"
        given.mkdir()
        made.mkdir()
        for index, path in enumerate(files):
            target = given / f"{index:05d}.dcm"
            if path in odd:
                _write_plain(name, path, target, images[0].series)
            else:
                target.symlink_to(path.resolve())
        _run_dcm2niix(name, given, made)
        # It writes a second, resampled volume ("_Eq") where positions are rounded.
        volumes = sorted(file for file in made.glob("*.nii") if "_Eq" not in file.stem)
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
    if max(_misplaced(volume, image) for image in (images[0], images[-1])) <= MISPLACED:
        return Grid.of(volume).image(sitk.GetArrayFromImage(volume))
    if rounding_mm(images) > 0.0 and max(image.frames for image in images) == 1:
        return _on_own_grid(name, volume, stack_grid(images))
    raise BadInput(
        name, "the converted volume lies elsewhere than its slices", "convert it to NIfTI"
    )


def _run_dcm2niix(name: object, given: Path, made: Path) -> None:
    import dcm2niix

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


def _write_plain(name: object, source: Path, target: Path, series: str) -> None:
    """Write a file as dcm2niix reads it: not deflated, with a preamble, of the series given."""
    try:
        item = pydicom.dcmread(source, force=True)
        little, implicit = item.original_encoding[1], item.original_encoding[0]
        if not hasattr(item, "file_meta"):
            item.file_meta = pydicom.dataset.FileMetaDataset()
        syntax = item.file_meta.get("TransferSyntaxUID")
        if syntax is None or syntax.is_deflated:
            plain = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
            item.file_meta.TransferSyntaxUID = plain if little else ExplicitVRBigEndian
        item.SeriesInstanceUID = series
        item.save_as(target, enforce_file_format=True)
    except Exception:  # pydicom meets a damaged file with whatever its parser stumbles over
        raise BadInput(name, "a file that cannot be unpacked", "export the series again") from None


def _misplaced(volume: sitk.Image, image: Instance) -> float:
    """Voxels from the first voxel of a slice to the nearest corner of the volume, an axis."""
    assert image.position is not None
    index = volume.TransformPhysicalPointToContinuousIndex(image.position)
    ends = zip(index, volume.GetSize(), strict=True)
    return max(min(abs(at), abs(at - (size - 1))) for at, size in ends)


def _on_own_grid(name: object, volume: sitk.Image, grid: Grid) -> sitk.Image:
    """Put a volume on the grid of its whole stack: dcm2niix measures its first two slices alone,
    whose distance is wrong where positions are rounded.
    """
    turned = np.sum(np.reshape(volume.GetDirection(), (3, 3)) * grid.affine[:3, :3], axis=0)
    cosines = turned / np.asarray(grid.spacing)
    if volume.GetSize() != grid.size or np.abs(cosines).min() < 0.999:
        raise BadInput(name, "a volume that does not fit its slices", "convert it to NIfTI")
    flips = tuple(slice(None, None, -1 if cosine < 0 else 1) for cosine in cosines[::-1])
    return grid.image(np.ascontiguousarray(sitk.GetArrayViewFromImage(volume)[flips]))
