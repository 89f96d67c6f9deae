"""A DICOM series is read as the image it was written from, or refused for what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from components.cohort.dicom.headers import read_instances
from components.cohort.dicom.selection.sequence_type import clean_description, sequence_type
from components.cohort.images import read_image
from components.core.errors import BadInput
from components.core.vocabulary import Sequence
from tests.cohort.dicom_writer import (
    FLAIR,
    T1,
    T1C,
    T2,
    datasets,
    enhanced,
    phantom,
    save,
    write_series,
)

Change = Callable[[list[Dataset]], list[Dataset]]


def same_image(found: sitk.Image, truth: sitk.Image) -> bool:
    """Whether both hold the same voxels at the same places, in whatever order of the axes."""
    one, two = (sitk.DICOMOrient(image, "LPS") for image in (found, truth))
    return (
        np.allclose(one.GetOrigin(), two.GetOrigin(), atol=1e-2)
        and np.allclose(one.GetDirection(), two.GetDirection(), atol=1e-4)
        and np.allclose(one.GetSpacing(), two.GetSpacing(), atol=1e-3)
        and np.array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(two))
    )


def test_a_series_folder_is_read_as_the_image_it_came_from(tmp_path: Path) -> None:
    image = phantom()
    assert same_image(read_image(write_series(tmp_path / "s", image, T2)), image)


@pytest.mark.parametrize("orientation", ["RAS", "LSA", "ASL"])
def test_any_plane_and_direction_is_read(tmp_path: Path, orientation: str) -> None:
    image = sitk.DICOMOrient(phantom(), orientation)
    assert same_image(read_image(write_series(tmp_path / "s", image, T2)), image)


def test_rescaled_values_are_those_of_the_scanner(tmp_path: Path) -> None:
    def rescale(items: list[Dataset]) -> list[Dataset]:
        for item in items:
            item.RescaleSlope, item.RescaleIntercept = 2, -100
        return items

    image = phantom()
    found = read_image(write_series(tmp_path / "s", image, T2, rescale))
    assert same_image(found, sitk.Cast(image, sitk.sitkFloat32) * 2 - 100)


def test_an_image_stored_twice_does_no_harm(tmp_path: Path) -> None:
    image = phantom()
    folder = write_series(tmp_path / "s", image, T2, lambda items: [*items, deepcopy(items[3])])
    assert same_image(read_image(folder), image)


@pytest.mark.parametrize("order", [list(range(12)), list(range(12))[::-1]])
@pytest.mark.parametrize("orientation", ["LPS", "ASL"])
def test_an_enhanced_object_is_read_as_the_image_it_came_from(
    tmp_path: Path, order: list[int], orientation: str
) -> None:
    image = sitk.DICOMOrient(phantom(shape=(12, 12, 12)), orientation)
    folder = save(tmp_path / "s", [enhanced(image, FLAIR, order=order)])
    (file,) = folder.iterdir()
    assert same_image(read_image(folder), image)
    assert same_image(read_image(file), image)


def test_frames_that_the_converter_misplaces_are_refused(tmp_path: Path) -> None:
    shuffled = [3, 0, 7, 11, 1, 9, 5, 2, 10, 4, 8, 6]
    folder = save(tmp_path / "s", [enhanced(phantom(), FLAIR, order=shuffled)])
    with pytest.raises(BadInput, match="lies elsewhere than its slices"):
        read_image(folder)


@pytest.mark.parametrize(
    ("tags", "sequence"),
    [(T1C, Sequence.T1C), (T1, None), (T2, Sequence.T2), (FLAIR, Sequence.FLAIR)],
)
def test_an_enhanced_object_is_judged_by_its_functional_groups(
    tmp_path: Path, tags: dict[str, Any], sequence: Sequence | None
) -> None:
    folder = save(tmp_path / "s", [enhanced(phantom(), tags)])
    images, _ = read_instances(folder.iterdir())
    assert len(images) == len({image.uid for image in images}) == 12
    assert {sequence_type(image).sequence for image in images} == {sequence}


def _lose_frame(item: Dataset) -> None:
    groups = item.PerFrameFunctionalGroupsSequence
    item.PerFrameFunctionalGroupsSequence = groups[:5] + groups[6:]
    size = item.Rows * item.Columns * 2
    item.PixelData = item.PixelData[: 5 * size] + item.PixelData[6 * size :]
    item.NumberOfFrames = 11


def _two_at_each_place(item: Dataset) -> None:
    item.PerFrameFunctionalGroupsSequence = (
        deepcopy(list(item.PerFrameFunctionalGroupsSequence)) * 2
    )
    item.PixelData = item.PixelData * 2
    item.NumberOfFrames = 24


def _lose_places(item: Dataset) -> None:
    for groups in item.PerFrameFunctionalGroupsSequence:
        del groups.PlanePositionSequence


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_lose_frame, "1 slices are missing"),
        (_two_at_each_place, "2 different images at each position"),
        (_lose_places, "where its frames lie"),
    ],
)
def test_a_broken_enhanced_object_is_refused(
    tmp_path: Path, spoil: Callable[[Dataset], None], said: str
) -> None:
    item = enhanced(phantom(), T2)
    spoil(item)
    with pytest.raises(BadInput, match=said) as refused:
        read_image(save(tmp_path / "s", [item]))
    assert refused.value.remedy


def _each(change: Callable[[int, Dataset], None]) -> Change:
    def changed(items: list[Dataset]) -> list[Dataset]:
        for index, item in enumerate(items):
            change(index, item)
        return items

    return changed


def _again(items: list[Dataset], chosen: slice) -> list[Dataset]:
    more = deepcopy(items[chosen])
    for item in more:
        item.SOPInstanceUID = generate_uid()
    return items + more


def _move(item: Dataset, offset: tuple[float, float, float]) -> None:
    item.ImagePositionPatient = list(np.array(item.ImagePositionPatient, float) + offset)


def _tilt(index: int, item: Dataset) -> None:
    along_rows = np.array(item.ImageOrientationPatient[3:], float)
    _move(item, tuple(1.2 * index * along_rows))


def _crop(index: int, item: Dataset) -> None:
    if index == 4:
        item.Rows -= 2
        item.PixelData = item.PixelData[: item.Rows * item.Columns * 2]


def _turn(index: int, item: Dataset) -> None:
    if index > 7:
        item.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


BROKEN: dict[str, tuple[Change, str]] = {
    "one slice missing": (lambda items: items[:5] + items[6:], "1 slices are missing"),
    "three slices missing": (lambda i: i[:3] + i[4:6] + i[8:], "3 slices are missing"),
    "slices duplicated": (lambda i: _again(i, slice(2, 4)), "slices are duplicated"),
    "two acquisitions": (lambda i: _again(i, slice(None)), "2 different images at each position"),
    "gantry tilt": (_each(_tilt), "gantry tilt of 11°"),
    "mixed orientations": (_each(_turn), "different orientations"),
    "mixed sizes": (_each(_crop), "different sizes"),
    "uneven slices": (
        _each(lambda n, i: _move(i, tuple(1.5 * (n % 2) * _normal(i)))),
        "slice distances from",
    ),
    "two slices": (lambda items: items[:2], "only 2 slices"),
    "no position": (_each(lambda n, i: i.__delattr__("ImagePositionPatient")), "without position"),
    "no spacing": (_each(lambda n, i: i.__delattr__("PixelSpacing")), "without pixel spacing"),
    "multi-frame": (
        _each(lambda n, i: setattr(i, "NumberOfFrames", 2)),
        "short|its frames lie",
    ),
}


def _normal(item: Dataset) -> np.ndarray:
    axes = np.array(item.ImageOrientationPatient, float)
    return np.cross(axes[:3], axes[3:])


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_series_is_refused_for_what_is_wrong(tmp_path: Path, case: str) -> None:
    change, said = BROKEN[case]
    folder = write_series(tmp_path / "s", phantom(), T2, change)
    with pytest.raises(BadInput, match=said) as refused:
        read_image(folder)
    assert refused.value.subject == str(folder)
    assert refused.value.remedy


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", phantom(), T2)
    file = sorted(folder.iterdir())[2]
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(BadInput, match="1 of its files are cut short"):
        read_image(folder)


def test_two_series_in_one_folder_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "s", datasets(phantom(), T2) + datasets(phantom(1), FLAIR))
    with pytest.raises(BadInput, match="with 2 DICOM series"):
        read_image(tmp_path / "s")


def _no_times(**tags: Any) -> dict[str, Any]:
    return {"SeriesNumber": 1, "ScanningSequence": "", **tags}


SERIES: dict[str, tuple[dict[str, Any], Sequence | None, str]] = {
    "t1c by agent": (T1C, Sequence.T1C, "agent in the header"),
    "t1 without": (T1, None, "without contrast agent"),
    "agent NONE": (
        {**T1C, "ContrastBolusAgent": "NONE", "SeriesDescription": "t1"}, None, "without"),
    "t1c by name": ({**T1, "SeriesDescription": "AX T1 POST GAD"}, Sequence.T1C, "named as with"),
    "t1 +c": ({**T1, "SeriesDescription": "Ax T1 +C"}, Sequence.T1C, "named as with"),
    "t1 pre": ({**T1, "SeriesDescription": "T1 pre contrast"}, None, "without contrast agent"),
    "agent of the whole study": (
        {**T1C, "SeriesDescription": "t1 pre contrast"}, Sequence.T1C, "though named as without"),
    "mprage": (
        {**T1C, "TR": 2300.0, "TE": 2.9, "TI": 900.0, "ScanningSequence": ["GR", "IR"]},
        Sequence.T1C, "agent in the header"),
    "t1 flair": (
        {**T1C, "TR": 2500.0, "TE": 20.0, "TI": 860.0, "SeriesDescription": "T1 FLAIR POST"},
        Sequence.T1C, "agent in the header"),
    "spgr": ({**T1C, "TR": 8.0, "TE": 3.0, "ScanningSequence": "GR"}, Sequence.T1C, "agent"),
    "t2": (T2, Sequence.T2, "long echo without inversion"),
    "t2 space": ({**T2, "TR": 3200.0, "TE": 400.0}, Sequence.T2, "long echo"),
    "t2 after contrast": ({**T2, "ContrastBolusAgent": "Gadovist"}, Sequence.T2, "long echo"),
    "t2 named flair-like": ({**T2, "SeriesDescription": "T2"}, Sequence.T2, "long echo"),
    "flair": (FLAIR, Sequence.FLAIR, "inverted fluid"),
    "flair named t2": ({**FLAIR, "SeriesDescription": "AX T2"}, Sequence.FLAIR, "inverted fluid"),
    "flair without TI": (
        {**FLAIR, "TI": None, "SeriesDescription": "x"}, Sequence.FLAIR, "scanning sequence IR"),
    "stir": ({**FLAIR, "TI": 160.0}, None, "nulls no fluid"),
    "pd": ({**T2, "TE": 15.0}, None, "neither"),
    "t2 star": ({**T2, "ScanningSequence": "GR", "TE": 80.0}, None, "susceptibility"),
    "diffusion": ({**T2, "ScanningSequence": "EP"}, None, "echo-planar"),
    "b value": ({**T2, "DiffusionBValue": 1000.0}, None, "b = 1000"),
    "adc": ({**T2, "ImageType": ["DERIVED", "PRIMARY", "ADC"]}, None, "image type ADC"),
    "subtraction": ({**T1C, "SeriesDescription": "T1 post SUB"}, None, "named 'SUB'"),
    "localiser": ({**T1, "SeriesDescription": "loc 3plane"}, None, "named 'loc'"),
    "ct": ({**T1C, "Modality": "CT"}, None, "modality CT"),
    "anonymised flair": (_no_times(SeriesDescription="AX T2 FLAIR"), Sequence.FLAIR, "named FLAIR"),
    "anonymised t2": (_no_times(SeriesDescription="t2_tse"), Sequence.T2, "named T2"),
    "anonymised t1c": (_no_times(SeriesDescription="T1_GD"), Sequence.T1C, "named T1 with"),
    "anonymised t1": (_no_times(SeriesDescription="T1"), None, "named T1 without"),
    "anonymised agent": (
        _no_times(SeriesDescription="T1", ContrastBolusAgent="Dotarem"), Sequence.T1C, "with"),
    "anonymised all": (_no_times(SeriesDescription="series 4"), None, "tells nothing"),
}  # fmt: skip


@pytest.mark.parametrize("case", SERIES)
def test_a_series_is_judged_by_its_header(tmp_path: Path, case: str) -> None:
    tags, sequence, said = SERIES[case]
    known = {name: value for name, value in tags.items() if value is not None}
    folder = write_series(tmp_path / "s", phantom(shape=(3, 4, 4)), known)
    (first, *_), others = read_instances(sorted(folder.iterdir()))
    verdict = sequence_type(first)
    assert (verdict.sequence, others) == (sequence, 0)
    assert said in verdict.reason


def test_a_description_keeps_its_technique_and_loses_the_name() -> None:
    assert clean_description("AX T1 POST Lockhart^Jane 3D +C") == "ax t1 post 3d c"
