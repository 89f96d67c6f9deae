"""Cohorts together: sets, splits, leakage, headers, and what is written of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from components.cohort.manifest import read_manifest
from components.core.errors import BadInput, Outage
from components.core.files import sha256_file
from components.core.tables import read_csv
from components.validate.image_facts import measure_shard
from components.validate.validate import validate_cohorts, validate_manifest
from tests.validate.factories import SETTINGS, Cohort


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return Cohort(tmp_path / "cohort")


def test_good_patients_are_all_accepted(cohort: Cohort, tmp_path: Path) -> None:
    result = validate_manifest(cohort.write(), SETTINGS, tmp_path / "out").report
    assert (result["patients"], result["accepted"], result["quarantined"]) == (8, 8, 0)
    assert result["warnings"] == {}
    page = (tmp_path / "out" / "validation.html").read_text()
    assert "http://" not in page
    assert "https://" not in page


def test_unknown_idh_is_accepted_with_a_warning(cohort: Cohort, tmp_path: Path) -> None:
    cohort.rows[3]["idh"] = ""
    result = validate_manifest(cohort.write(), SETTINGS, tmp_path / "out").report
    assert result["quarantined"] == 0
    assert "unknown" in result["warnings"]["p3"][0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("flair", "flare", "rename column 'flare' to 'flair'"),
        ("idh", "label", "column 'idh' is missing"),
        ("tumor_mask", "tumour_mask", "rename it to 'tumor_mask'"),
        ("site", "age", "stands twice"),
    ],
)
def test_a_bad_header_stops_with_its_remedy(
    cohort: Cohort, tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = cohort.write()
    header, _, rest = path.read_text().partition("\n")
    columns = [new if name == old else name for name in header.strip().split(",")]
    if new == "age":
        columns.append("site")
    path.write_text(",".join(columns) + "\n" + rest)
    with pytest.raises(BadInput, match=message):
        validate_manifest(path, SETTINGS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_patient_in_two_cohorts_stops_the_run(cohort: Cohort, tmp_path: Path) -> None:
    other = Cohort(tmp_path / "other", first=7, patients=4)
    with pytest.raises(BadInput, match="p7"):
        validate_cohorts(
            {"development": cohort.write(), "new": other.write()}, SETTINGS, tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_one_image_under_two_names_in_two_cohorts_stops(cohort: Cohort, tmp_path: Path) -> None:
    other = Cohort(tmp_path / "other", first=20, patients=4)
    shutil.copy(cohort.image("p1_t1c.nii.gz"), other.image("p21_t1c.nii.gz"))
    with pytest.raises(BadInput, match=r"p1 .* p21 .*same image"):
        validate_cohorts(
            {"development": cohort.write(), "new": other.write()}, SETTINGS, tmp_path / "out"
        )


def test_one_image_in_two_splits_stops(cohort: Cohort, tmp_path: Path) -> None:
    for index, row in enumerate(cohort.rows):
        row["split"] = ("training", "tuning", "internal")[index % 3]
    shutil.copy(cohort.image("p0_flair.nii.gz"), cohort.image("p1_flair.nii.gz"))
    with pytest.raises(BadInput, match="same image under two names"):
        validate_manifest(cohort.write(), SETTINGS, tmp_path / "out")


def test_one_patient_in_two_splits_stops(cohort: Cohort, tmp_path: Path) -> None:
    for row in cohort.rows:
        row["split"] = "training"
    cohort.rows[5].update(patient_id="p0", split="internal")
    with pytest.raises(BadInput, match="patient p0: stands in two splits"):
        validate_manifest(cohort.write(), SETTINGS, tmp_path / "out")


def test_too_few_patients_stop(cohort: Cohort, tmp_path: Path) -> None:
    few = SETTINGS.model_copy(update={"min_development": 9})
    with pytest.raises(BadInput, match="8 usable patients"):
        validate_cohorts({"development": cohort.write()}, few, tmp_path / "out")


def test_a_half_filled_split_column_stops(cohort: Cohort, tmp_path: Path) -> None:
    cohort.rows[0]["split"] = "training"
    with pytest.raises(BadInput, match="column split"):
        validate_manifest(cohort.write(), SETTINGS, tmp_path / "out")


def test_sets_and_folds_are_written(cohort: Cohort, tmp_path: Path) -> None:
    other = Cohort(tmp_path / "other", first=20, patients=4)
    folds = SETTINGS.model_copy(update={"folds": 2})
    validate_cohorts({"development": cohort.write(), "new": other.write()}, folds, tmp_path / "out")
    patients = read_manifest(tmp_path / "out" / "accepted.csv")
    development = [p for p in patients if p.extra["cohort"] == "development"]
    assert sorted(p.extra["fold"] for p in development) == ["0"] * 4 + ["1"] * 4
    assert {p.extra["subset"] for p in patients} == {"training", "new"}
    for fold in "01":
        labels = sorted(int(p.idh) for p in development if p.extra["fold"] == fold)  # type: ignore[arg-type]
        assert labels == [0, 0, 1, 1]


def test_the_digest_of_every_accepted_image_is_written(cohort: Cohort, tmp_path: Path) -> None:
    cohort.rows[0]["idh"] = "maybe"
    accepted = validate_manifest(cohort.write(), SETTINGS, tmp_path / "out").accepted
    written = read_csv(accepted.with_name("images.csv"))
    assert {(row["patient_id"], row["image"], row["sha256"]) for row in written} == {
        (patient.patient_id, name, sha256_file(path))
        for patient in read_manifest(accepted)
        for name in ("t1c", "flair", "tumor_mask")
        if (path := getattr(patient, name))
    }
    assert {row["patient_id"] for row in written} == {f"p{i}" for i in range(1, 8)}


def test_same_seed_same_files(cohort: Cohort, tmp_path: Path) -> None:
    path = cohort.write()
    for name in ("a", "b"):
        validate_manifest(path, SETTINGS, tmp_path / name)
    assert (tmp_path / "a" / "accepted.csv").read_bytes() == (
        tmp_path / "b" / "accepted.csv"
    ).read_bytes()


@pytest.mark.parametrize("other", ["P1", "00p1"])
def test_ids_alike_but_for_case_or_zeros_are_told(
    cohort: Cohort, tmp_path: Path, other: str
) -> None:
    cohort.rows[3]["patient_id"] = other
    report = validate_manifest(cohort.write(), SETTINGS, tmp_path / "out").report
    ((_, (reason,)),) = report["reasons"].items()
    assert f"'{other}'" in reason and "'p1'" in reason


def test_ids_alike_in_two_cohorts_are_refused(cohort: Cohort, tmp_path: Path) -> None:
    external = Cohort(tmp_path / "external", first=20, patients=4)
    external.rows[0]["patient_id"] = "P2"
    cohorts = {"development": cohort.write(), "external": external.write()}
    with pytest.raises(BadInput) as refused:
        validate_cohorts(cohorts, SETTINGS, tmp_path / "out")
    assert "p2 and P2" in refused.value.subject


def test_most_images_out_of_reach_stop_a_run_and_are_listed_by_validate(tmp_path: Path) -> None:
    cohort = Cohort(tmp_path / "cohort", patients=12)
    kept = [row["flair"] for row in cohort.rows]
    for row in cohort.rows[:7]:
        row["flair"] = f"unmounted/{row['patient_id']}.nii.gz"
    manifest = cohort.write()
    with pytest.raises(Outage, match="cohort development: images of 7 of 12 patients"):
        validate_cohorts({"development": manifest}, SETTINGS, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    report = validate_manifest(manifest, SETTINGS, tmp_path / "listed").report
    assert report["quarantined"] == 7
    cohort.rows[0]["flair"] = kept[0]
    few = SETTINGS.model_copy(update={"min_development": 4})
    run = validate_cohorts({"development": cohort.write()}, few, tmp_path / "run")
    assert run.report["quarantined"] == 6


def test_images_measured_in_shards_are_judged_as_one(cohort: Cohort, tmp_path: Path) -> None:
    """Nine shards of eight patients: one shard is empty."""
    cohort.spoil("p2_t1c.nii.gz", lambda image: image * 0)
    cohort.rows[5]["flair"] = "gone.nii.gz"
    manifests = {"development": cohort.write()}
    shards = [tmp_path / f"facts-{number}" for number in range(9)]
    for number, folder in enumerate(shards):
        measure_shard(manifests, f"{number}/9", SETTINGS, folder)
    validate_cohorts(manifests, SETTINGS, tmp_path / "whole")
    validate_cohorts(manifests, SETTINGS, tmp_path / "cut", shards=shards)
    whole, cut = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        for name in ("whole", "cut")
    )
    assert whole == cut
    report = json.loads(whole["validation.json"])
    assert set(report["reasons"]) == {"p2", "p5"}
    with pytest.raises(KeyError):
        validate_cohorts(manifests, SETTINGS, tmp_path / "lost", shards=shards[1:])
