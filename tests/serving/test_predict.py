"""Predicting one patient from files: what is refused, and that nothing is left behind then."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from components.core.errors import BadInput
from components.core.files import read_json
from components.core.vocabulary import Status
from components.release.inference.local_release import LocalRelease
from components.release.inference.request import request_tensors
from components.release.integrity.verification import verify_release
from components.release.manifest import Contents
from components.release.prediction import ON_PHANTOMS
from serving.predict import PatientFiles, predict_patient
from serving.report.figure import draw_prediction
from serving.report.files import MASK_FILE, PREDICTION_FILE
from serving.report.result import patient_result
from tests.serving.shop import Shop


@pytest.fixture
def files(tmp_path: Path) -> PatientFiles:
    rng = np.random.default_rng(0)
    for name in ("t1c", "t2", "flair"):
        image = sitk.GetImageFromArray(rng.random((8, 9, 10)).astype(np.float32))
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    return PatientFiles(
        t1c=tmp_path / "t1c.nii.gz",
        t2=tmp_path / "t2.nii.gz",
        flair=tmp_path / "flair.nii.gz",
        age=50.0,
    )


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"t2": None}, "--t2"),
        ({"flair": None}, "--flair"),
        ({"age": 12.0}, "--age"),
        ({"age": float("nan")}, "--age"),
        ({"patient_id": "Jane Doe"}, "--patient-id"),
        ({"patient_id": "../up"}, "--patient-id"),
        ({"t1c": Path("gone.nii.gz")}, "gone.nii.gz"),
    ],
    ids=["no t2", "no flair", "child", "no age", "name", "path", "missing file"],
)
def test_bad_patients_are_refused_and_nothing_is_written(
    shop: Shop, files: PatientFiles, tmp_path: Path, change: dict, subject: str
) -> None:
    release = LocalRelease(shop.release.folder)
    with pytest.raises(BadInput) as refused:
        predict_patient(release, replace(files, **change), tmp_path / "out")
    assert subject in refused.value.subject
    assert refused.value.remedy
    assert not (tmp_path / "out").exists()


HEADERS: dict[str, tuple[int, bytes, str]] = {
    "no codes": (252, bytes(4), "which way the patient lies"),
    "metres": (123, b"\x01", "metres"),
    "forms apart": (268, b"\x00\x00\x80\xc3", "qform and sform disagree"),
    "infinite sform": (280, b"\x00\x00\x80\x7f", "not finite"),
    "intercept NaN": (112, b"\x00\x00\x80\x3f\x00\x00\xc0\x7f", "scaled by"),
    "small": (352, b"", "slices|field of view"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_what_validation_refuses_is_answered_for_nobody(
    shop: Shop, files: PatientFiles, tmp_path: Path, case: str
) -> None:
    at, new, said = HEADERS[case]
    plain = tmp_path / "t1c.nii"
    sitk.WriteImage(sitk.ReadImage(str(files.t1c)), str(plain))
    content = plain.read_bytes()
    plain.write_bytes(content[:at] + new + content[at + len(new) :])
    release = LocalRelease(shop.release.folder)
    with pytest.raises(BadInput, match=said):
        predict_patient(release, replace(files, t1c=plain), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file_is_refused(
    shop: Shop, files: PatientFiles, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(BadInput, match="a file, not a folder"):
        predict_patient(LocalRelease(shop.release.folder), files, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_images_without_a_brain_are_abstained_on_with_the_reason(
    shop: Shop, files: PatientFiles, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for name in ("t1c", "t2", "flair"):
        image = sitk.GetImageFromArray(rng.random((12, 13, 14)).astype(np.float32))
        image.SetSpacing([9.0] * 3)
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    out = tmp_path / "out"
    out.mkdir()
    (out / MASK_FILE).write_text("of an earlier prediction")
    content = predict_patient(LocalRelease(shop.release.folder), files, out)
    assert content["status"] == Status.ABSTAIN
    assert content["reason"]["check"]
    assert content["probability_idh_mutant"] is None
    assert content["release"] == shop.release.release
    assert read_json(out / PREDICTION_FILE) == content
    assert [path.name for path in out.iterdir()] == [PREDICTION_FILE]


@pytest.mark.parametrize("tumor", [True, False])
def test_the_answer_and_its_picture(shop: Shop, tmp_path: Path, tumor: bool) -> None:
    contents: Contents = shop.release.contents
    case = shop.case(6, tumor=tumor)
    answer = LocalRelease(shop.release.folder).ask(request_tensors(case, contents))
    result = patient_result(answer, case, contents, {"t1c": "0" * 64})
    content = result.prediction.content()
    assert set(content) >= {
        "patient_id", "status", "probability_idh_mutant", "slices", "features",
        "tumor_volume_ml", "release", "trained_on", "warnings",
    }  # fmt: skip
    assert content["warnings"][0] == ON_PHANTOMS
    assert (content["status"] == Status.NO_TUMOR) is not tumor
    assert (content["slices"] is None) is not tumor
    draw_prediction(tmp_path / "a.png", result)
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.png")))
    assert min(picture.shape[:2]) > 400
    assert picture.std() > 5


@pytest.mark.parametrize("damage", ["altered", "missing", "added", "renamed"])
def test_a_release_that_is_not_whole_is_not_served(shop: Shop, tmp_path: Path, damage: str) -> None:

    folder = tmp_path / "repository"
    shutil.copytree(shop.release.folder, folder)
    weights = folder / "segmenter" / "1" / "model.onnx"
    if damage == "altered":
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
    elif damage == "missing":
        weights.unlink()
    elif damage == "added":
        (folder / "segmenter" / "1" / "model.py.bak").write_text("x")
    else:
        text = (folder / "release.json").read_text()
        (folder / "release.json").write_text(text.replace(shop.release.release, "glioma-idh-0"))
    with pytest.raises(BadInput) as refused:
        verify_release(folder)
    assert str(folder) in refused.value.subject
