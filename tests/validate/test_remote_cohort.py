"""A cohort in S3 is the same cohort: over real HTTP, from a local server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.cohort.manifest import read_manifest
from components.core.errors import Outage
from components.validate.validate import validate_cohorts, validate_manifest
from tests.validate.factories import SETTINGS, Cohort


def test_from_s3_the_same_patients_are_accepted(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohorts = {"development": Cohort(tmp_path / "cohort"), "snuh": Cohort(tmp_path / "snuh", 20, 4)}
    cohorts["development"].rows[1]["t1c"] = "./p1_t1c.nii.gz"
    cohorts["development"].rows[2]["brain_mask"] = "p2_mask.nii.gz"
    cohorts["snuh"].rows[1]["flair"] = "../snuh/p21_flair.nii.gz"
    manifests = {name: cohort.write() for name, cohort in cohorts.items()}
    remote = {}
    for name, cohort in cohorts.items():
        for file in cohort.folder.iterdir():
            s3.upload_file(str(file), "bucket", f"export/{name}/{file.name}")
        remote[name] = f"s3://bucket/export/{name}/manifest.csv"
    s3.delete_object(Bucket="bucket", Key="export/development/p3_t1c.nii.gz")
    cohorts["development"].image("p3_t1c.nii.gz").unlink()
    here = validate_cohorts(manifests, SETTINGS, tmp_path / "here")
    there = validate_cohorts(remote, SETTINGS, tmp_path / "there")
    assert list(there.report["reasons"]) == list(here.report["reasons"]) == ["p3"]
    assert there.report["reasons"]["p3"] == ["t1c: no such object in S3"]
    for name in ("accepted.csv", "images.csv"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    for name in ("accepted_sha256", "accepted_content_sha256", "splits_sha256", "manifest_sha256"):
        assert there.report[name] == here.report[name]
    patients = {patient.patient_id: patient for patient in read_manifest(there.accepted)}
    assert patients["p0"].t1c == "s3://bucket/export/development/p0_t1c.nii.gz"
    assert patients["p21"].flair == "s3://bucket/export/snuh/p21_flair.nii.gz"
    local = {patient.patient_id: patient for patient in read_manifest(here.accepted)}
    assert local["p1"].t1c == str(tmp_path / "cohort" / "p1_t1c.nii.gz")
    assert local["p2"].extra["brain_mask"] == str(tmp_path / "cohort" / "p2_mask.nii.gz")
    assert patients["p2"].extra["brain_mask"] == "s3://bucket/export/development/p2_mask.nii.gz"
    # A server that goes away is nobody's fault: nobody is quarantined for it.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Outage):
        validate_cohorts(remote, SETTINGS, tmp_path / "away")
    assert not (tmp_path / "away").exists()


def test_the_content_digest_tells_cohorts_apart(tmp_path: Path) -> None:
    cohort = Cohort(tmp_path / "cohort")
    digests = set()
    for change in ("nothing", "age", "image"):
        if change == "age":
            cohort.rows[2]["age"] = "51"
        if change == "image":
            cohort.spoil("p2_t1c.nii.gz", lambda image: image + 1)
        report = validate_manifest(cohort.write(), SETTINGS, tmp_path / change).report
        digests.add(report["accepted_content_sha256"])
    assert len(digests) == 3
