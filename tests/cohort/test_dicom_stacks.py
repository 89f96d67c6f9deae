"""A series is not one volume: what is told apart, put together, and set aside."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from components.cohort.dicom.ingest import ingest
from components.cohort.images import read_image, read_noted
from components.cohort.manifest import read_manifest
from components.core.errors import BadInput
from tests.cohort.dicom_writer import T1C, T2, datasets, phantom, save, write_series
from tests.cohort.test_dicom_series import same_image

Change = Callable[[list[Dataset]], list[Dataset]]


def each(change: Callable[[int, Dataset], None]) -> Change:
    def changed(items: list[Dataset]) -> list[Dataset]:
        for index, item in enumerate(items):
            change(index, item)
        return items

    return changed


def again(items: list[Dataset], **tags: Any) -> list[Dataset]:
    """The same slices, as other images of the same series."""
    more = deepcopy(items)
    for item in more:
        item.SOPInstanceUID = generate_uid()
        item.PixelData = (np.frombuffer(item.PixelData, "<i2") // 2).astype("<i2").tobytes()
        for name, value in tags.items():
            setattr(item, name, value)
    return [*items, *more]


def _echo_in_turn(index: int, item: Dataset) -> None:
    item.EchoTime = (9.04, 9.06)[index % 2]


def _concatenations(index: int, item: Dataset) -> None:
    item.AcquisitionNumber = 1 + index % 2


def _rounded(index: int, item: Dataset) -> None:
    item.ImagePositionPatient = [round(float(v), 1) for v in item.ImagePositionPatient]


def _with_localiser(items: list[Dataset]) -> list[Dataset]:
    more = deepcopy(items[:3])
    for item, axes in zip(
        more, ([1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 1, 0]), strict=True
    ):
        item.SOPInstanceUID = generate_uid()
        item.ImageOrientationPatient = axes
        item.PixelSpacing = [2.0, 2.0]
    return [*more, *items]


PHASE = {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}
RIGHT: dict[str, Change] = {
    "echo times that differ by rounding": each(_echo_in_turn),
    "concatenations": each(_concatenations),
    "positions rounded to 0.1 mm": each(_rounded),
    "a phase image of each slice": lambda items: again(items, **PHASE),
    "phase by its component": lambda items: again(items, ComplexImageComponent="PHASE"),
    "real and imaginary": lambda items: again(
        again(items, ImageType=["ORIGINAL", "PRIMARY", "I"])[:24]
    )[:24],
    "localiser slices": _with_localiser,
}


@pytest.mark.parametrize("spacing", [6.0, 1.0])
@pytest.mark.parametrize("case", RIGHT)
def test_one_volume_is_read_whole(tmp_path: Path, case: str, spacing: float) -> None:
    image = phantom()
    image.SetSpacing((5.0, 5.0, spacing))
    found = read_image(write_series(tmp_path / "s", image, T1C, RIGHT[case]))
    if "rounded" in case:
        assert np.array_equal(
            sitk.GetArrayFromImage(sitk.DICOMOrient(found, "LPS")),
            sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS")),
        )
        assert np.allclose(found.GetSpacing(), image.GetSpacing(), atol=0.03)
    else:
        assert same_image(found, image)


def _some_phase(items: list[Dataset]) -> list[Dataset]:
    for item in items[3:6]:
        item.ImageType = ["ORIGINAL", "PRIMARY", "P"]
    return items


def _interleaved(items: list[Dataset]) -> list[Dataset]:
    for index, item in enumerate(items):
        item.AcquisitionNumber = 1 + index % 2
        item.SpacingBetweenSlices = 12.0
    return items


REFUSED: dict[str, tuple[Change, str]] = {
    "phase in the place of magnitude": (_some_phase, "3 slices are missing"),
    "phase alone": (lambda items: again(items, **PHASE)[12:], "phase or derived"),
    "two interleaved stacks": (_interleaved, "2 volumes in one series"),
    "two acquisitions": (
        lambda items: again(items, AcquisitionNumber=2), "2 volumes in one series"),
    "two time points": (
        lambda items: again(items, TemporalPositionIdentifier=2), "2 volumes in one series"),
    "two echoes": (lambda items: again(items, EchoTime=80.0), "2 volumes in one series"),
    "two reconstructions": (
        lambda items: again(items, ImageType=["DERIVED", "PRIMARY", "M"]), "2 volumes"),
    "the same twice without a word": (again, "2 different images at each position"),
    "Dixon fat": (
        each(lambda _, i: setattr(i, "ImageType", ["DERIVED", "PRIMARY", "DIXON", "FAT"])),
        "phase or derived"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_several_volumes_are_refused(tmp_path: Path, case: str) -> None:
    change, said = REFUSED[case]
    with pytest.raises(BadInput, match=said) as refused:
        read_image(write_series(tmp_path / "s", phantom(), T2, change))
    assert refused.value.remedy


@pytest.mark.parametrize("parts", [slice(0, 5), slice(0, None, 2)], ids=["halves", "in turn"])
def test_a_series_cut_in_two_is_joined(tmp_path: Path, parts: slice) -> None:
    items = datasets(phantom(), T2)
    other = generate_uid()
    for item in items[parts]:
        item.SeriesInstanceUID = other
    assert same_image(read_image(save(tmp_path / "s", items)), phantom())


def _deflated(file: Path) -> None:
    item = dcmread(file)
    item.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    item.save_as(file, enforce_file_format=True)


def _no_preamble(file: Path) -> None:
    file.write_bytes(file.read_bytes()[132:])


def _bare(file: Path) -> None:
    """The dataset alone, as old scanners write it."""
    item = dcmread(file)
    item.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    item.save_as(file, enforce_file_format=True)
    content = file.read_bytes()
    # Group 2 says its length: the dataset follows.
    length = int.from_bytes(content[140:144], "little")
    file.write_bytes(content[144 + length :])


@pytest.mark.parametrize("spoil", [_deflated, _no_preamble, _bare])
def test_unusual_files_are_read(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    folder = write_series(tmp_path / "s", phantom(), T2)
    for file in folder.iterdir():
        spoil(file)
    assert same_image(read_image(folder), phantom())


def test_half_of_a_stack_with_its_rows_turned_is_no_volume(tmp_path: Path) -> None:
    def turned(items: list[Dataset]) -> list[Dataset]:
        for item in items[6:]:
            row, column = item.ImageOrientationPatient[:3], item.ImageOrientationPatient[3:]
            item.ImageOrientationPatient = [*(-float(v) for v in row), *column]
        return items

    folder = write_series(tmp_path / "export" / "s", phantom(), T1C, turned)
    with pytest.raises(BadInput, match="orientations"):
        read_image(folder)
    (patient,) = read_manifest(ingest(tmp_path / "export", tmp_path / "out").manifest)
    assert patient.t1c is None


def test_loss_and_what_was_set_aside_are_told(tmp_path: Path) -> None:
    def lossy(items: list[Dataset]) -> list[Dataset]:
        for item in items:
            item.LossyImageCompression = "01"
        return again(items, **PHASE)

    folder = write_series(tmp_path / "s", phantom(), T1C, lossy)
    (folder / "notes.txt").write_text("no image")
    _, notes = read_noted(folder)
    assert len(notes) == 3
    assert read_noted(write_series(tmp_path / "plain", phantom(), T1C))[1] == ()
