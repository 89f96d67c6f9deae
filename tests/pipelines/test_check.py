"""Mistakes that would stop a run late are refused before its first step."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from components.core.errors import BadInput
from pipelines.check import check_networks, check_run
from pipelines.profile import Profile, load_profile

TINY = Path(__file__).parents[1] / "tiny.yaml"
COLUMNS = ("patient_id", "site", "t1c", "t2", "flair", "tumor_mask", "age", "sex", "idh")


def tiny(**changes: dict[str, Any]) -> Profile:
    """The tiny profile with settings changed, section by section."""
    content = load_profile(str(TINY)).model_dump(mode="json")
    for section, values in changes.items():
        merge(content[section], values)
    return Profile.model_validate(content)


def merge(content: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            merge(content[key], value)
        else:
            content[key] = value


def manifest(folder: Path, *, mutant: int = 12, wildtype: int = 12, **cells: str) -> str:
    """A manifest whose files need not exist: a check reads no image."""
    path = folder / "cohort.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for index in range(mutant + wildtype):
            name = f"P{index:03d}"
            row = {"patient_id": name, "site": "S", "age": "50", "sex": "F"}
            files = {c: f"{name}/{c}.nii.gz" for c in ("t1c", "t2", "flair", "tumor_mask")}
            writer.writerow({**row, **files, "idh": int(index < mutant), **cells})
    return str(path)


def test_shipped_profiles_are_sound() -> None:
    for name in ("demo", "study"):
        found = check_run(load_profile(name), {}, None, networks=False)
        assert found.patients["development"] > 0


def test_what_a_run_takes_is_said(tmp_path: Path) -> None:
    found = check_run(tiny(), {"development": manifest(tmp_path)}, tmp_path / "out", networks=False)
    assert found.patients == {"development": 24}
    steps = ["validate", "preprocess", "segment", "features", "classify", "export"]
    assert [estimate.step for estimate in found.estimates] == steps
    assert found.disk_gib > 0


@pytest.mark.parametrize(
    ("changes", "cohort", "subject"),
    [
        ({"classify": {"min_patients": 40}}, {}, "cohort development"),
        ({"preprocess": {"grid": 30}}, {}, "preprocess.grid = 30"),
        ({"segment": {"crop": [64, 64, 64]}}, {}, "segment.crop = [64, 64, 64]"),
        ({"segment": {"device": "cuda"}}, {}, "segment.device = cuda"),
        ({"classify": {"device": "cuda"}}, {}, "classify.device = cuda"),
        ({"classify": {"conformal": 0.9}}, {}, "classify.conformal, level 0.9"),
        (
            {"classify": {"conformal": 0.9}, "validation": {"folds": 3}},
            {"wildtype": 8},
            "classify.conformal, level 0.9",
        ),
        ({}, {"mutant": 2, "wildtype": 3}, "cohort development"),
        ({}, {"mutant": 20, "wildtype": 2}, "cohort development"),
        ({}, {"mutant": 20, "wildtype": 0}, "cohort development"),
        ({}, {"idh": ""}, "cohort development"),
        ({}, {"t2": ""}, "cohort development, column t2"),
        ({}, {"tumor_mask": ""}, "cohort development, column tumor_mask"),
        ({}, {"mutant": 0, "wildtype": 0}, "cohort.csv"),
        (
            {"preprocess": {"atlas": {"source": "own", "path": "none.nii", "labels": "none.json"}}},
            {},
            "none",
        ),
    ],
    ids=[
        "min_patients", "grid", "crop", "segment cuda", "classify cuda", "conformal",
        "conformal by folds",
        "few", "rare class", "one class", "no idh", "no t2", "no masks", "empty", "atlas",
    ],
)  # fmt: skip
def test_late_mistakes_are_refused_early(
    changes: dict[str, Any], cohort: dict[str, Any], subject: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as refused:
        check_run(
            tiny(**changes),
            {"development": manifest(tmp_path, **cohort)},
            tmp_path / "out",
            networks=False,
        )
    assert subject in refused.value.subject
    assert refused.value.remedy


def test_a_level_that_the_held_out_patients_carry_is_taken(tmp_path: Path) -> None:
    """Nine of a class carry 0.9: of folds all are held out, else the tuning patients."""
    for name, changes, patients in (
        ("folds", {"folds": 3}, 9),
        ("tuning", {"splits": [0.5, 0.3, 0.2]}, 30),
    ):
        (tmp_path / name).mkdir()
        cohort = manifest(tmp_path / name, mutant=patients, wildtype=patients)
        profile = tiny(classify={"conformal": 0.9}, validation=changes)
        check_run(profile, {"development": cohort}, None, networks=False)


def test_a_signing_key_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIOFLOW_SIGNING_KEY", str(tmp_path / "gone.pem"))
    with pytest.raises(BadInput):
        check_run(tiny(), {}, None, networks=False)


def test_a_disk_without_room_is_refused(tmp_path: Path) -> None:
    # No machine has the room for a million phantoms.
    many = {"cohorts": [{"name": "development", "site": "severance", "patients": 10**9}]}
    with pytest.raises(BadInput) as refused:
        check_run(tiny(cohort=many), {}, tmp_path, networks=False)
    assert refused.value.subject == str(tmp_path)


def test_an_external_cohort_of_one_class_is_said(tmp_path: Path) -> None:
    (tmp_path / "external").mkdir()
    cohorts = {
        "development": manifest(tmp_path),
        "external": manifest(tmp_path / "external", mutant=5, wildtype=0),
    }
    found = check_run(tiny(), cohorts, None, networks=False)
    assert len(found.warnings) == 1


@pytest.mark.parametrize("name", ["demo", "lgg"])
def test_untrained_networks_of_a_profile_are_exported_and_served(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    check_networks(load_profile(name))
    # The stubs of Triton's Python models outlive a server that is killed alone.
    lines = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    assert [line for line in lines if str(tmp_path) in " ".join(line)] == []


def test_the_paper_s_networks_are_exported_and_served() -> None:
    profile = load_profile("paper")
    small = profile.preprocess.model_copy(update={"grid": 32})
    check_networks(profile.model_copy(update={"preprocess": small}))


def test_networks_that_do_not_serve_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # The profile's own checks let no such network through, so the exporter is made to lie.
    from components.segment.network import export

    whole = export.export_untrained
    monkeypatch.setattr(
        export, "export_untrained", lambda settings, grid, path: whole(settings, grid // 2, path)
    )
    with pytest.raises(BadInput) as refused:
        check_networks(tiny())
    assert refused.value.subject == "serving"
