"""A scheduled run starts on manifests it has not seen, and on no others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from components.core.errors import BadInput, Outage
from components.monitor.component import find_new_cohorts_op, remember_cohorts_op
from components.monitor.new_data import cohort_digests, is_new, remember
from tests.core.s3_server import refusing_server

HEADER = "patient_id,site,t1c,t2,flair,age,idh\n"


@pytest.fixture(params=["folder", "s3"])
def record(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "state" / "seen.json")
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="bucket")
        yield "s3://bucket/glioflow/seen.json"


@pytest.fixture
def cohorts(tmp_path: Path) -> list[dict[str, str]]:
    for name in ("development", "snuh"):
        (tmp_path / f"{name}.csv").write_text(f"{HEADER}p1,{name},a,b,c,50,1\n")
    return [
        {"name": name, "manifest": str(tmp_path / f"{name}.csv")}
        for name in ("development", "snuh")
    ]


def test_new_once_then_known_until_a_manifest_changes(
    record: str, cohorts: list[dict[str, str]]
) -> None:
    found = cohort_digests(cohorts)
    assert is_new(found, "paper", record)
    remember(found, "paper", record)
    assert not is_new(cohort_digests(cohorts), "paper", record)
    assert is_new(found, "lgg", record), "each profile has its own entry"
    remember(found, "lgg", record)
    assert not is_new(found, "paper", record), "and leaves the others'"
    with Path(cohorts[1]["manifest"]).open("a") as stream:
        stream.write("p2,snuh,a,b,c,51,0\n")
    assert is_new(cohort_digests(cohorts), "paper", record)
    assert is_new(cohort_digests(cohorts[:1]), "paper", record), (
        "a cohort that is gone is a change, too"
    )


def test_an_image_that_changed_under_the_same_manifest_is_new(
    record: str, cohorts: list[dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"a scan")
    remember(cohort_digests(cohorts), "paper", record)
    assert not is_new(cohort_digests(cohorts), "paper", record)
    (tmp_path / "a").write_bytes(b"another")
    assert is_new(cohort_digests(cohorts), "paper", record)


def test_the_steps_pass_on_what_the_run_began_with(
    record: str, cohorts: list[dict[str, str]]
) -> None:
    """A manifest that changes while the run trains is new again afterwards."""
    given = json.dumps(cohorts)
    found = find_new_cohorts_op.python_func(given, "paper", record)
    assert found.is_new is True
    with Path(cohorts[0]["manifest"]).open("a") as stream:
        stream.write("p2,here,a,b,c,51,0\n")
    remember_cohorts_op.python_func(found.digests, "paper", record)
    assert find_new_cohorts_op.python_func(given, "paper", record).is_new is True
    assert is_new(json.loads(found.digests), "paper", record) is False


def test_no_cohort_is_bad_input() -> None:
    with pytest.raises(BadInput, match="no cohort is given"):
        cohort_digests([])


def test_a_record_that_may_not_be_read_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 answers 403 for a record that is not there yet to those who may not list."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    with refusing_server(403, "AccessDenied") as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(Outage) as stopped:
            is_new({}, "paper", "s3://bucket/seen.json")
    assert "s3:ListBucket" in stopped.value.remedy


@pytest.mark.parametrize("content", ["[]", "<html>login</html>", "{"])
def test_a_record_that_is_none_is_bad_input(tmp_path: Path, content: str) -> None:
    (tmp_path / "seen.json").write_text(content)
    with pytest.raises(BadInput) as refused:
        is_new({}, "paper", str(tmp_path / "seen.json"))
    assert refused.value.subject == str(tmp_path / "seen.json")
