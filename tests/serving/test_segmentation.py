"""A patient given as DICOM gets the mask as DICOM, too; and nobody's name goes anywhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from components.cohort.images import read_image
from components.cohort.prepared import PreparedCase
from components.core.imaging.grid import Grid
from components.release.inference.local_release import LocalRelease
from serving.predict import PatientFiles, predict_patient
from tests.cohort.dicom_writer import SECRETS, T1C, write_series
from tests.serving.shop import Shop


def _in_a_scanner(case: PreparedCase, folder: Path) -> PreparedCase:
    """The case, its T1C being an oblique series in `folder`."""
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.2, -0.1, 0.15)
    grid = Grid.make((44, 40, 36), (-95.0, -80.0, -90.0), (4.5, 4.0, 5.5), turn.GetMatrix())
    rng = np.random.default_rng(0)
    write_series(folder, grid.image(rng.integers(1, 900, grid.shape).astype(np.int16)), T1C)
    return replace(case, native=Grid.of(read_image(folder)))


def _predict(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, tumor: bool = True
) -> dict:
    case = _in_a_scanner(shop.case(6, tumor=tumor), tmp_path / "t1c")
    monkeypatch.setattr("components.preprocess.cohort.prepare_patient", lambda *_, **__: case)
    other = tmp_path / "other.nii.gz"
    other.write_bytes(b"what prepare_patient would read")
    files = PatientFiles(t1c=tmp_path / "t1c", t2=other, flair=other, age=50.0)
    return predict_patient(LocalRelease(shop.release.folder), files, tmp_path / "out")


def test_the_dicom_mask_is_the_nifti_mask(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = _predict(shop, tmp_path, monkeypatch)
    out = tmp_path / "out"
    seg = highdicom.seg.segread(out / "tumor_mask.dcm")
    assert "research use" in seg.SeriesDescription
    assert seg.get_segment_description(1).algorithm_identification.version == content["release"]
    mask = sitk.ReadImage(str(out / "tumor_mask.nii.gz"))
    sources = sorted(
        (pydicom.dcmread(file) for file in (tmp_path / "t1c").iterdir()),
        key=lambda item: item.InstanceNumber,
    )
    found = seg.get_pixels_by_source_instance(
        [item.SOPInstanceUID for item in sources], assert_missing_frames_are_empty=True
    )[..., 0]
    assert found.sum() == sitk.GetArrayViewFromImage(mask).sum() > 100
    for z, y, x in np.argwhere(found):
        item = sources[z]
        axes = np.reshape(item.ImageOrientationPatient, (2, 3)).astype(float)
        row, column = (float(size) for size in item.PixelSpacing)
        place = (
            np.array(item.ImagePositionPatient, float) + axes[0] * x * column + axes[1] * y * row
        )
        assert mask[mask.TransformPhysicalPointToIndex(place.tolist())] == 1


def test_who_the_patient_is_stays_in_the_dicom_files(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _predict(shop, tmp_path, monkeypatch)
    uids = [pydicom.dcmread(next((tmp_path / "t1c").iterdir())).StudyInstanceUID]
    files = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    for name in [name for name in files if name.endswith(".dcm")]:
        assert SECRETS["PatientName"].encode() in files.pop(name), name
    assert {"prediction.json", "prediction.html", "tumor_mask.nii.gz"} <= set(files)
    for name, content in files.items():
        for secret in (*SECRETS.values(), *uids):
            assert secret.encode() not in content, f"{secret} in {name}"


def test_no_tumour_no_segmentation_and_none_is_left_from_before(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _predict(shop, tmp_path, monkeypatch)
    assert (tmp_path / "out" / "tumor_mask.dcm").exists()
    _predict(shop, tmp_path, monkeypatch, tumor=False)
    assert not (tmp_path / "out" / "tumor_mask.dcm").exists()
    assert (tmp_path / "out" / "tumor_mask.nii.gz").exists()


def test_a_header_that_cannot_be_referred_to_costs_the_segmentation_alone(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = _in_a_scanner(shop.case(6), tmp_path / "t1c")
    for file in (tmp_path / "t1c").iterdir():
        item = pydicom.dcmread(file)
        del item.FrameOfReferenceUID
        item.save_as(file)
    monkeypatch.setattr("components.preprocess.cohort.prepare_patient", lambda *_, **__: case)
    files = PatientFiles(
        t1c=tmp_path / "t1c", t2=tmp_path / "t1c", flair=tmp_path / "t1c", age=50.0
    )
    content = predict_patient(LocalRelease(shop.release.folder), files, tmp_path / "out")
    assert "no tumor_mask.dcm: images without a frame of reference" in content["warnings"]
    assert "frame of reference" in (tmp_path / "out" / "prediction.html").read_text()
    assert (tmp_path / "out" / "tumor_mask.nii.gz").exists()
