"""A DICOM segmentation lies where the mask lies, voxel by voxel, and says what and whose it is."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from components.cohort.dicom.objects.segmentation import write_segmentation
from components.cohort.images import read_image, write_image
from components.core.errors import BadInput
from components.core.imaging.grid import Grid
from tests.cohort.dicom_writer import (
    SECRETS,
    T1C,
    T2,
    datasets,
    enhanced,
    phantom,
    save,
    write_series,
)

RELEASE = "glioma-idh-0123456789ab"
SAID = "Tumour mask by glioflow, research use only"


def _mask_of(series: Path) -> sitk.Image:
    """A lopsided mask on the series as it is read, which touches no two faces of the volume."""
    image = read_image(series)
    values = np.zeros(sitk.GetArrayViewFromImage(image).shape, np.uint8)
    rng = np.random.default_rng(3)
    values[2:7, 4:11, 3:9] = rng.integers(0, 2, (5, 7, 6))
    values[-1, 0, 0] = 1
    return Grid.of(image).image(values)


def _written(folder: Path, series: Path, mask: sitk.Image) -> highdicom.seg.Segmentation:
    write_segmentation(folder / "m.dcm", series, mask, release=RELEASE, description=SAID)
    write_image(folder / "m.nii.gz", mask)
    return highdicom.seg.segread(folder / "m.dcm")


def _points_of_nifti(path: Path) -> np.ndarray:
    """LPS mm of every voxel in the mask, by nibabel."""
    image = nibabel.nifti1.load(path)
    index = np.argwhere(np.asarray(image.dataobj) > 0)
    return nibabel.affines.apply_affine(image.affine, index) * (-1, -1, 1)


def _points_of_seg(seg: highdicom.seg.Segmentation) -> np.ndarray:
    """The same of a segmentation, by what each of its frames says of itself."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    between_rows, between_columns = shared.PixelMeasuresSequence[0].PixelSpacing
    axes = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3))
    points = []
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for groups, pixels in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(pixels > 0):
            where = axes[0] * column * between_columns + axes[1] * row * between_rows
            points.append(origin + where)
    return np.array(points)


def _same_places(folder: Path, seg: highdicom.seg.Segmentation) -> None:
    nifti, dicom = _points_of_nifti(folder / "m.nii.gz"), _points_of_seg(seg)
    assert len(nifti) == len(dicom) > 50
    distance = np.linalg.norm(nifti[:, None] - dicom[None], axis=2)
    assert distance.min(axis=1).max() < 0.02
    assert distance.min(axis=0).max() < 0.02


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "LSA", "ASL"])
def test_it_lies_where_the_nifti_mask_lies(tmp_path: Path, orientation: str) -> None:
    """The phantom is oblique; each orientation is stored along other axes."""
    image = sitk.DICOMOrient(phantom(), orientation)
    series = write_series(tmp_path / "s", image, T1C)
    mask = _mask_of(series)
    seg = _written(tmp_path, series, mask)
    _same_places(tmp_path, seg)
    sources = sorted(
        (pydicom.dcmread(file) for file in series.iterdir()), key=lambda item: item.InstanceNumber
    )
    found = seg.get_pixels_by_source_instance(
        [item.SOPInstanceUID for item in sources], assert_missing_frames_are_empty=True
    )
    moved = sitk.Resample(mask, image, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert np.array_equal(found[..., 0], sitk.GetArrayFromImage(moved))


@pytest.mark.parametrize("order", [list(range(12)), list(range(12))[::-1]])
def test_frames_of_an_enhanced_object_are_referred_to(tmp_path: Path, order: list[int]) -> None:
    series = save(tmp_path / "s", [enhanced(phantom(), T1C, order=order)])
    seg = _written(tmp_path, series, _mask_of(series))
    _same_places(tmp_path, seg)
    source = pydicom.dcmread(next(series.iterdir()))
    for groups in seg.PerFrameFunctionalGroupsSequence:
        named = groups.DerivationImageSequence[0].SourceImageSequence[0]
        frame = source.PerFrameFunctionalGroupsSequence[int(named.ReferencedFrameNumber) - 1]
        assert np.allclose(
            frame.PlanePositionSequence[0].ImagePositionPatient,
            groups.PlanePositionSequence[0].ImagePositionPatient,
            atol=1e-6,
        )


def test_it_says_what_it_is_and_whose(tmp_path: Path) -> None:
    series = write_series(tmp_path / "s", phantom(), T1C)
    seg = _written(tmp_path, series, _mask_of(series))
    source = pydicom.dcmread(next(series.iterdir()))
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert seg[name].value == source[name].value
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    assert seg.SeriesDescription == SAID
    refers = seg.ReferencedSeriesSequence[0]
    assert refers.SeriesInstanceUID == source.SeriesInstanceUID
    segment = seg.get_segment_description(1)
    assert segment.segmented_property_type.meaning == "Neoplasm"
    assert segment.segmented_property_category.value == "49755003"
    assert segment.algorithm_type.value == "AUTOMATIC"
    assert segment.algorithm_identification.version == RELEASE
    assert segment.algorithm_identification.family.meaning == "Artificial Intelligence"


def _without(name: str) -> object:
    def change(items: list[Dataset]) -> list[Dataset]:
        for item in items:
            delattr(item, name)
        return items

    return change


def test_what_dicom_lets_be_empty_may_be_missing(tmp_path: Path) -> None:
    series = write_series(tmp_path / "s", phantom(), T1C, _without("AccessionNumber"))  # type: ignore[arg-type]
    _same_places(tmp_path, _written(tmp_path, series, _mask_of(series)))


@pytest.mark.parametrize("name", ["FrameOfReferenceUID", "SOPClassUID"])
def test_a_series_that_cannot_be_referred_to_is_refused_without_a_word_of_it(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    items = datasets(phantom(), T2)
    series = save(tmp_path / "s", items)
    mask = _mask_of(series)
    for file in series.iterdir():
        item = pydicom.dcmread(file)
        delattr(item, name)
        item.PatientBirthDate = "born on a Monday"
        item.save_as(file)
    with caplog.at_level(logging.DEBUG), pytest.raises(BadInput) as refused:
        write_segmentation(tmp_path / "m.dcm", series, mask, release=RELEASE, description=SAID)
    said = str(refused.value) + caplog.text + "".join(capfd.readouterr())
    assert not any(str(secret) in said for secret in (*SECRETS.values(), "Monday"))
    assert not (tmp_path / "m.dcm").exists()


LETTERS = {
    "Korean": ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동", "escaped euc_kr"),
    "Korean, plain": ("ISO 2022 IR 149", "홍^길동", "euc_kr"),
    "Japanese": (
        "\\ISO 2022 IR 87",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "iso2022_jp",
    ),
    "Chinese": ("GB18030", "Wang^XiaoDong=王^小东", "gb18030"),
    "Chinese, GBK": ("GBK", "王^小东", "gbk"),
    "Greek": ("ISO_IR 126", "Διονυσιος", "iso8859_7"),
    "Russian": ("ISO_IR 144", "Люкceмбypг", "iso8859_5"),
    "UTF-8": ("ISO_IR 192", "Jørgensen^Åse", "utf-8"),
    "not said": (None, "Müller^Jörg", "latin-1"),
    "another one": ("ISO_IR 192", "Müller^Jörg", "latin-1"),
    "no such one": ("ISO_IR 9999", "Müller^Jörg", "latin-1"),
    "wrong Korean": ("\\ISO 2022 IR 149", "Wang=王小东", "gb18030"),
}


def _encoded(name: str, codec: str) -> bytes:
    """As a scanner writes it: Korean letters are announced anew in each part of a name."""
    kind, _, escaped = codec.partition(" ")
    if not escaped:
        return name.encode(kind)
    parts = re.split("([=^])", name)
    return b"".join(p.encode() if p.isascii() else b"\x1b$)C" + p.encode(escaped) for p in parts)


@pytest.mark.parametrize("case", LETTERS)
def test_letters_of_any_hospital_come_out_as_utf_8(tmp_path: Path, case: str) -> None:
    """As names, in sequences and in the path; what cannot be read is blank, not another name."""
    declared, name, codec = LETTERS[case]
    folder = tmp_path / "환자 山田 Ü"
    write_series(folder, phantom(), T1C)
    for file in folder.iterdir():
        item = pydicom.dcmread(file)
        # 16 bytes that no writer translates are put in the place of a name of that length.
        item.PatientName = "X" * 64
        item.StudyDescription = "Y" * 64
        if declared is not None:
            item.SpecificCharacterSet = declared.split("\\")
        item.save_as(file)
        letters = _encoded(name, codec)[:64].ljust(64)
        content = file.read_bytes().replace(b"X" * 64, letters).replace(b"Y" * 64, letters)
        file.write_bytes(content)
    seg = _written(tmp_path, folder, _mask_of(folder))
    assert seg.SpecificCharacterSet == "ISO_IR 192"
    told = str(seg.PatientName).strip()
    right = case not in ("not said", "another one", "no such one", "wrong Korean")
    assert told.replace(" ", "") == (name if right else "").replace(" ", "")
    _same_places(tmp_path, seg)


@pytest.mark.parametrize("declared", ["ISO_IR 192", "ISO_IR 100"])
def test_blanked_letters_are_told(tmp_path: Path, declared: str) -> None:
    series = write_series(tmp_path / "s", phantom(), T1C)
    for file in series.iterdir():
        item = pydicom.dcmread(file)
        item.SpecificCharacterSet, item.StudyDescription = declared, "Y" * 6
        item.save_as(file)
        file.write_bytes(file.read_bytes().replace(b"YYYYYY", "Müller".encode("latin-1")))
    mask = _mask_of(series)
    said = write_segmentation(tmp_path / "m.dcm", series, mask, release=RELEASE, description=SAID)
    assert bool(said) is (declared == "ISO_IR 192")
