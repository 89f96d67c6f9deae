"""`glioflow predict --explain`: the picture, and classifiers that are not the release's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from components.core.errors import BadInput
from components.release.inference.local_release import LocalRelease
from components.release.inference.request import request_tensors
from serving.predict import PatientFiles, predict_patient
from serving.report.explanation import explain_answer
from serving.report.result import patient_result
from tests.serving.shop import Shop


@pytest.mark.parametrize("tumor", [True, False])
def test_an_explained_prediction(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tumor: bool
) -> None:
    """Without a tumour there is nothing to explain, and the answer stands without it."""
    case = shop.case(6, tumor=tumor)
    monkeypatch.setattr("components.preprocess.cohort.prepare_patient", lambda *_, **__: case)
    image = tmp_path / "image.nii.gz"
    image.write_bytes(b"what prepare_patient would read")
    files = PatientFiles(t1c=image, t2=image, flair=image, age=50.0)
    out = tmp_path / "out"
    answer = predict_patient(
        LocalRelease(shop.release.folder), files, out, explain=shop.classifier.parent
    )
    assert answer == json.loads((out / "prediction.json").read_text())
    assert (out / "explanation.png").exists() is tumor
    assert ("where it looked" in (out / "prediction.html").read_text()) is tumor
    assert ("saliency" in answer) is tumor
    for shares in answer.get("saliency", {}).values():
        assert sum(shares.values()) == pytest.approx(1.0)
    assert not list(out.glob(".partial-*"))
    predict_patient(LocalRelease(shop.release.folder), files, out)
    assert not (out / "explanation.png").exists(), "it explained another answer"


def test_the_classifier_of_another_release_is_refused(shop: Shop, tmp_path: Path) -> None:
    contents, case = shop.release.contents, shop.case(6)
    answer = LocalRelease(shop.release.folder).ask(request_tensors(case, contents))
    assert answer.probability is not None
    result = patient_result(answer, case, contents, {})
    other = replace(answer, probability=1.0 - answer.probability + 0.1)
    with pytest.raises(BadInput, match="exported from"):
        explain_answer(replace(result, answer=other), shop.classifier)
    with pytest.raises(BadInput, match="not a classifier"):
        explain_answer(result, tmp_path)
