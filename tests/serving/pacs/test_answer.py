"""What goes back to the study: report and captures say what prediction.json says, and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from highdicom.sr import srread
from pydicom.sr.codedict import codes

from components.core.vocabulary import Status
from serving.pacs import codes as own
from serving.pacs.capture import OUTLINE, PIXELS, slice_grids
from serving.pacs.files import CAPTURE_FILES, DICOM_FILES, REPORT_FILE, SEGMENTATION_FILE
from serving.pacs.report import device_uid
from tests.cohort.dicom_writer import SECRETS, T1C, enhanced, phantom, save, write_series
from tests.serving.pacs.answers import RELEASE, errors_of, mask_of, said, unprepared, write


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return write_series(tmp_path / "s", phantom(shape=(24, 40, 36)), T1C)


def _numbers(group: object) -> dict[str, float]:
    return {m.name.value: m.value for m in group.get_measurements()}  # type: ignore[attr-defined]


def _said(group: object) -> dict[str, str]:
    found = group.get_qualitative_evaluations()  # type: ignore[attr-defined]
    ours = [e for e in found if e.name.scheme_designator == own.SCHEME]
    return {e.name.value: e.value.value for e in ours}


def _texts(report: pydicom.Dataset) -> list[str]:
    group = report.ContentSequence[-1].ContentSequence[0]
    return [item.TextValue for item in group.ContentSequence
            if item.ValueType == "TEXT" and item.RelationshipType == "CONTAINS"]  # fmt: skip


def test_the_report_measures_the_segment(series: Path, tmp_path: Path) -> None:
    prediction, out = said(series), tmp_path / "out"
    assert write(out, series, prediction, mask_of(series)) == prediction
    report, seg = srread(out / REPORT_FILE), pydicom.dcmread(out / SEGMENTATION_FILE)
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    assert _numbers(group) == {
        codes.SCT.Volume.value: prediction.tumor_volume_ml,
        codes.IBSI.Maximum3DDiameterOfAMesh.value: 33.125,
        codes.IBSI.MajorAxisIn3DLength.value: 30.5,
        own.PROBABILITY.value: prediction.probability_idh_mutant,
        own.UNCERTAINTY.value: prediction.uncertainty,
    }
    assert _said(group) == {
        own.STATUS.value: "OK", own.TUMOR.value: codes.SCT.Present.value,
        own.IDH_STATUS.value: own.MUTANT.value,
    }  # fmt: skip
    segment = group.referenced_segment
    assert segment.referenced_sop_instance_uid == seg.SOPInstanceUID
    assert group.tracking_uid == seg.SegmentSequence[0].TrackingUID
    assert _texts(report) == [prediction.intended_use, *prediction.warnings]
    (observer,) = report.content.get_observer_contexts()
    assert observer.observer_identifying_attributes.uid == device_uid(RELEASE)
    assert device_uid(RELEASE) != device_uid("glioma-idh-another")


@pytest.mark.parametrize(("probability", "word"), [(0.49, own.WILDTYPE), (0.5, own.MUTANT)])
def test_the_word_follows_the_number(
    series: Path, tmp_path: Path, probability: float, word: object
) -> None:
    prediction = said(series, probability_idh_mutant=probability)
    write(tmp_path / "out", series, prediction, mask_of(series))
    report = srread(tmp_path / "out" / REPORT_FILE)
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    assert _said(group)[own.IDH_STATUS.value] == word.value  # type: ignore[attr-defined]


def test_no_tumour_is_said_to_be_absent(series: Path, tmp_path: Path) -> None:
    write(tmp_path, series, said(series, Status.NO_TUMOR), None)
    report = srread(tmp_path / REPORT_FILE)
    assert not report.content.get_volumetric_roi_measurement_groups()
    (group,) = report.content.get_image_measurement_groups()
    assert not _numbers(group)
    assert _said(group) == {"STATUS": "NO_TUMOR", "TUMOR": codes.SCT.Absent.value}
    assert not (tmp_path / SEGMENTATION_FILE).exists()
    assert all((tmp_path / name).is_file() for name in CAPTURE_FILES)


def test_an_abstention_holds_reasons_and_no_number(series: Path, tmp_path: Path) -> None:
    prediction = said(series, Status.ABSTAIN, warnings=("the networks disagree",))
    write(tmp_path, series, prediction, mask_of(series))
    report = srread(tmp_path / REPORT_FILE)
    assert not report.content.get_volumetric_roi_measurement_groups()
    (group,) = report.content.get_image_measurement_groups()
    assert not _numbers(group)
    assert _said(group) == {"STATUS": "ABSTAIN"}
    assert "the networks disagree" in _texts(report)


def test_images_that_cannot_be_prepared_get_a_report_and_one_picture(
    series: Path, tmp_path: Path
) -> None:
    prediction = unprepared(series)
    write(tmp_path, series, prediction, None)
    assert prediction.reason is not None
    assert prediction.reason.sentence in _texts(srread(tmp_path / REPORT_FILE))
    assert [n for n in DICOM_FILES if (tmp_path / n).exists()] == [REPORT_FILE, CAPTURE_FILES[0]]


@pytest.mark.parametrize("status", list(Status))
def test_an_independent_judge_finds_no_error(series: Path, tmp_path: Path, status: Status) -> None:
    mask = None if status is Status.NO_TUMOR else mask_of(series)
    write(tmp_path, series, said(series, status), mask)
    made = [tmp_path / name for name in DICOM_FILES if (tmp_path / name).exists()]
    assert len(made) >= 6
    assert {path.name: errors_of(path) for path in made} == {path.name: [] for path in made}


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "LSA", "ASL", "PIR"])
def test_the_outline_is_where_the_tumour_is(tmp_path: Path, orientation: str) -> None:
    """Axial, coronal, sagittal and flipped, all of them oblique; right is on the left."""
    image = sitk.DICOMOrient(phantom(shape=(24, 40, 36)), orientation)
    series = write_series(tmp_path / "s", image, T1C)
    prediction, mask = said(series), mask_of(series)
    write(tmp_path, series, prediction, mask)
    grids = slice_grids(prediction, sitk.ReadImage(str(_nifti(tmp_path, mask))))
    for name, grid in zip(CAPTURE_FILES, grids, strict=True):
        pixels = pydicom.dcmread(tmp_path / name).pixel_array
        assert pixels.shape == (PIXELS, PIXELS, 3)
        outlined = (pixels == OUTLINE).all(axis=-1)[: PIXELS - 40]  # the banner has its colour
        rows, columns = np.nonzero(outlined)
        assert len(rows) > 100
        middle = (columns.mean(), rows.mean())
        assert middle[0] < PIXELS / 2, "the patient's right is on the left"
        assert middle[1] < PIXELS / 2, "the front is up"
        place = grid.affine @ [*middle, 0.0, 1.0]
        assert mask[mask.TransformPhysicalPointToIndex(place[:3])] == 1


def _nifti(folder: Path, mask: sitk.Image) -> Path:
    sitk.WriteImage(mask, str(folder / "mask.nii.gz"))
    return folder / "mask.nii.gz"


def test_all_of_it_belongs_to_the_study_and_refers_to_the_series(
    series: Path, tmp_path: Path
) -> None:
    write(tmp_path, series, said(series), mask_of(series))
    sources = [pydicom.dcmread(file) for file in series.iterdir()]
    uids = {item.SOPInstanceUID for item in sources}
    made = [pydicom.dcmread(tmp_path / name) for name in DICOM_FILES]
    for item in made:
        for name in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate"):
            assert item[name].value == sources[0][name].value
    assert len({item.SeriesInstanceUID for item in made}) == 3
    assert len({item.SOPInstanceUID for item in made}) == len(made)
    for capture in made[2:]:
        assert {i.ReferencedSOPInstanceUID for i in capture.SourceImageSequence} == uids
        assert "research use only" in capture.SeriesDescription
    report = made[1]
    referred = {
        sop.ReferencedSOPInstanceUID
        for name in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for study in report.get(name, [])
        for each in study.ReferencedSeriesSequence
        for sop in each.ReferencedSOPSequence
    }
    assert referred == uids | {made[0].SOPInstanceUID}


def test_the_same_answer_is_the_same_object_however_often_it_is_made(
    series: Path, tmp_path: Path
) -> None:
    def uids(folder: Path, probability: float = 0.8, ends: int = 0) -> list[str]:
        mask = mask_of(series)
        if ends:
            mask = mask - mask  # and another one
            mask[1, 1, 1] = 1
        write(folder, series, said(series, probability_idh_mutant=probability), mask)
        return [pydicom.dcmread(folder / name).SOPInstanceUID for name in DICOM_FILES]

    first = uids(tmp_path / "1")
    assert uids(tmp_path / "2") == first
    other = uids(tmp_path / "3", probability=0.7)
    assert other[0] == first[0]
    assert not set(other[1:]) & set(first)
    assert not set(uids(tmp_path / "4", ends=1)) & set(first)


def test_an_enhanced_object_is_answered_too(tmp_path: Path) -> None:
    series = save(tmp_path / "s", [enhanced(phantom(), T1C)])
    write(tmp_path, series, said(series, slice_indices=(3, 4, 5, 6, 7)), mask_of(series))
    (group,) = srread(tmp_path / REPORT_FILE).content.get_volumetric_roi_measurement_groups()
    assert _numbers(group)[codes.SCT.Volume.value] == 12.345
    assert not errors_of(tmp_path / REPORT_FILE)


def test_a_series_that_cannot_be_referred_to_is_told_in_the_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def break_it(items: list[pydicom.Dataset]) -> list[pydicom.Dataset]:
        for item in items:
            del item.FrameOfReferenceUID
        return items

    series = write_series(tmp_path / "s", phantom(), T1C, break_it)
    answered = write(tmp_path, series, said(series), None)
    assert "no report.dcm: images without a frame of reference" in answered.warnings
    told = " ".join(answered.warnings) + caplog.text + "".join(capfd.readouterr())
    assert not any(str(secret) in told for secret in SECRETS.values())
    assert not (tmp_path / REPORT_FILE).exists()
