"""What MLflow runs of a registered release says what the release says when it is served."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from components.registry.tracking.model_code import GliomaModel
from components.release.inference.local_release import LocalRelease
from serving.predict import PatientFiles, predict_patient
from tests.serving.images import AGE
from tests.serving.shop import Shop


def _loaded(shop: Shop, folder: Path, part: str) -> GliomaModel:
    for name, source in (
        ("repository", shop.release.folder),
        ("segmenter", shop.segmenter),
        ("plan.json", shop.release.folder / "plan.json"),
    ):
        (folder / name).symlink_to(source)
    model = GliomaModel()
    config = {"part": part, "release": shop.release.release, "trained_on": "phantoms"}
    context = SimpleNamespace(artifacts={"files": str(folder)}, model_config=config)
    model.load_context(context)
    return model


@pytest.mark.parametrize("part", ["release", "segmenter"])
def test_a_registered_model_answers_like_the_release(
    quick_shop: Shop, patient: Path, tmp_path: Path, part: str
) -> None:
    files = {name: patient / f"{name}.nii.gz" for name in ("t1c", "t2", "flair")}
    given = PatientFiles(**files, age=AGE, patient_id="P-1")
    out = tmp_path / "out"
    expected = predict_patient(LocalRelease(quick_shop.release.folder), given, out)
    row = {"patient_id": "P-1", "age": AGE, **{name: str(path) for name, path in files.items()}}
    (tmp_path / "files").mkdir()
    model = _loaded(quick_shop, tmp_path / "files", part)
    found = model.predict(None, pd.DataFrame([row])).iloc[0]
    assert found["tumor_volume_ml"] == pytest.approx(expected["tumor_volume_ml"], rel=1e-3)
    assert found["trained_on"] == "phantoms"
    if part == "release":
        assert (found["status"], found["release"]) == (expected["status"], expected["release"])
        assert found["probability_idh_mutant"] == expected["probability_idh_mutant"]
