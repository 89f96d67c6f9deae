"""The paper profile at its full size, on few phantoms and few steps, to a served raw answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.core.vocabulary import Status
from components.release.inference.local_release import LocalRelease
from pipelines import local
from pipelines.profile import Profile, load_profile
from serving.client.client import Client
from serving.predict import PatientFiles, predict_patient
from serving.triton.server import LocalServer

FEW: dict[str, dict[str, Any]] = {
    "cohort": {
        "resolution_mm": 1.0,
        "seed": 5,
        "splits": [0.6, 0.2, 0.2],
        "cohorts": [
            {"name": "development", "site": "severance", "patients": 16, "mutant_share": 0.5},
            {"name": "tcia", "site": "tcia", "patients": 4, "mutant_share": 0.5},
        ],
    },
    "validation": {"min_development": 8},
    "segment": {"steps": 6, "workers": 0, "evaluate_every": 0},
    "classify": {
        "seeds": 1,
        "min_patients": 6,
        "conformal": None,
        "warm": {"epochs": 1},
        "fine": {"epochs": 1},
        "forest": {"trees": 20, "folds": 3, "min_leaf": [3], "max_features": [0.5], "repeats": 2},
    },
    "evaluate": {"iterations": 200},
    "serving": {"node": "cpu"},
}
"""What makes the run short; sizes of grids and networks are the profile's own."""


def short_paper() -> Profile:
    content = load_profile("paper").model_dump(mode="json")
    for section, values in FEW.items():
        content[section].update(values)
    return Profile.model_validate(content)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_paper_profile_runs_to_a_served_raw_answer(tmp_path: Path) -> None:
    profile = short_paper()
    assert profile.preprocess.grid == 128
    assert profile.segment.network.width == 21
    out = tmp_path / "run"
    local.run(profile, {}, out)
    phantom = next(out.glob("kfp/*/make-cohorts-op/cohorts_out/tcia/tcia-0001"))
    files = PatientFiles(
        t1c=phantom / "t1c.nii.gz",
        t2=phantom / "t2.nii.gz",
        flair=phantom / "flair.nii.gz",
        age=50.0,
    )
    here = predict_patient(LocalRelease(out / "repository"), files, tmp_path / "here")
    with LocalServer(out / "repository") as server, Client(server.grpc_address) as client:
        served = predict_patient(client, files, tmp_path / "served")
    assert served["status"] in (Status.OK, Status.NO_TUMOR, Status.ABSTAIN)
    assert served["status"] == here["status"]
    assert served["tumor_volume_ml"] == pytest.approx(here["tumor_volume_ml"], rel=1e-6)
    if here["probability_idh_mutant"] is not None:
        assert served["probability_idh_mutant"] == pytest.approx(
            here["probability_idh_mutant"], abs=1e-6
        )
