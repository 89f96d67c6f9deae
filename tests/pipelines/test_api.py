"""Logging in to Kubeflow: fronts that ask for it, and answers that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.core.errors import BadInput
from pipelines import cli
from pipelines.kubeflow import cluster
from pipelines.kubeflow.api import Login, connect_to_kubeflow
from pipelines.profile import load_profile
from tests.pipelines.kfp_api import (
    ANSWERS,
    COOKIE,
    TOKEN,
    Front,
    dex,
    forbid,
    iap,
    kfp_api,
    late_login,
    namespaced,
    page,
    read_only,
)

COHORTS = {"development": "s3://b/d.csv"}
HEALTH = ("GET", "/apis/v2beta1/healthz")


@pytest.mark.parametrize("front", [dex, forbid, iap, page])
@pytest.mark.parametrize("command", ["submit", "schedule", "status"])
def test_a_front_that_wants_a_login_is_bad_input(
    front: Front, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """kubeflow/website#2916: said "run None submitted", with exit code 0."""
    more = [] if command == "status" else ["--profile", "demo"]
    more += ["--cron", "0 0 2 * * 1"] if command == "schedule" else []
    with kfp_api(front) as (host, requests):
        assert cli.run([command, "--host", host, *more]) == 2
    said = capsys.readouterr()
    assert "--cookie" in said.err
    assert "--token" in said.err
    assert "None" not in said.err + said.out
    assert {method for method, _, _ in requests} == {"GET"}


@pytest.mark.parametrize(
    ("front", "options"), [(dex, ["--cookie", COOKIE]), (iap, ["--token", TOKEN])]
)
def test_who_is_logged_in_gets_a_run_id(
    front: Front, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with kfp_api(front) as (host, _):
        line = ["submit", "--profile", "demo", "--host", host, "--cohort", "development=s3://b/d"]
        assert cli.run([*line, "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out) == {"run_id": "run-1"}


def test_a_token_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    with kfp_api(iap) as (host, _):
        assert (
            cluster.status(connect_to_kubeflow(host, Login.of(token_file=file)), "run-1").run_id
            == "run-1"
        )


@pytest.mark.parametrize("front", [read_only, late_login])
def test_a_run_that_was_not_taken_is_not_called_submitted(front: Front) -> None:
    with kfp_api(front) as (host, _):
        client = connect_to_kubeflow(host)
        with pytest.raises(BadInput):
            cluster.submit(client, load_profile("demo"), COHORTS, "", "glioflow")
        with pytest.raises(BadInput):
            cluster.schedule(client, load_profile("demo"), COHORTS, "", "g", "0 0 2 * * 1")


@pytest.mark.parametrize("front", [read_only, late_login, namespaced])
def test_a_refusal_after_the_health_check_is_one_line(
    front: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--profile", "demo", "--cohort", "development=s3://b/d.csv"]
    with kfp_api(front) as (host, _):
        assert cli.run(["submit", "--host", host, *line]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert "Traceback" not in said.err


@pytest.mark.parametrize("tag", ["2.0.5", "2.5.0", "v2.13.9", "1.8.22"])
def test_a_kfp_that_cannot_run_the_pipeline_is_refused(
    tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ANSWERS, HEALTH, {"tag_name": tag})
    with kfp_api() as (host, requests), pytest.raises(BadInput) as refused:
        connect_to_kubeflow(host)
    assert refused.value.subject == f"--host {host}"
    assert tag in refused.value.problem
    assert {path for _, path, _ in requests} == {HEALTH[1]}


@pytest.mark.parametrize("tag", ["2.14.0", "2.17.0", "v3.0.0-rc1"])
def test_a_kfp_that_is_new_enough_is_taken(
    tag: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(ANSWERS, HEALTH, {"tag_name": tag})
    with kfp_api() as (host, _):
        connect_to_kubeflow(host)
    assert "version" not in caplog.text


def test_a_kfp_that_hides_its_version_is_taken_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(ANSWERS, HEALTH, {"tag_name": "unknown"})
    with kfp_api() as (host, _):
        connect_to_kubeflow(host)
    assert "does not tell KFP's version" in caplog.text


@pytest.mark.parametrize("answer", [{}, {"run_id": ""}, {"run_id": "another"}])
def test_a_run_must_be_found_under_its_id(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, str]
) -> None:
    monkeypatch.setitem(ANSWERS, ("POST", "/apis/v2beta1/runs"), answer)
    with kfp_api() as (host, _), pytest.raises(BadInput):
        cluster.submit(connect_to_kubeflow(host), load_profile("demo"), COHORTS, "", "glioflow")


def test_an_installation_of_several_users_wants_a_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ANSWERS, HEALTH, {"multi_user": True})
    with kfp_api() as (host, requests):
        with pytest.raises(BadInput) as refused:
            connect_to_kubeflow(host)
        assert "--namespace" in refused.value.remedy
        client = connect_to_kubeflow(host, Login(namespace="anna"))
        cluster.submit(client, load_profile("demo"), COHORTS, "", "glioflow")
    made = next(body for m, path, body in requests if m == "POST" and path.endswith("experiments"))
    assert made["namespace"] == "anna"


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        ({"token": "a", "token_file": Path("b")}, "--token"),
        ({"token": "a\nb"}, "--token"),
        ({"cookie": "session"}, "--cookie"),
        ({"token_file": Path("/no/such/file")}, "--token-file /no/such/file"),
        ({"ca": Path("/no/such/file")}, "--ca /no/such/file"),
    ],
)
def test_a_login_that_is_none_is_named(given: dict[str, object], subject: str) -> None:
    with pytest.raises(BadInput) as refused:
        Login.of(**given)  # type: ignore[arg-type]
    assert refused.value.subject == subject
