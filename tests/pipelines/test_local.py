"""The local run's own parts: its cohorts, its errors, its links, its progress."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.core.errors import BadInput, StepFailed
from components.core.progress import PROGRESS_FILE, reporter
from pipelines import local

MANIFEST = "patient_id,site,t1c,flair,age,idh\np1,s,a.nii.gz,b.nii.gz,50,1\n"


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "cohort.csv"
    path.write_text(MANIFEST)
    return str(path)


def test_cohorts_carry_their_digest(manifest: str) -> None:
    (entry,) = json.loads(local.check_cohorts({"development": manifest}))
    assert entry["name"] == "development"
    assert len(entry["sha256"]) == 64


def test_a_changed_manifest_changes_the_cache_key(manifest: str) -> None:
    before = local.check_cohorts({"development": manifest})
    Path(manifest).write_text(MANIFEST.replace("50", "51"))
    assert local.check_cohorts({"development": manifest}) != before


@pytest.mark.parametrize("name", ["training", "internal", "Ünï", "a/b", "", "UPPER"])
def test_names_that_cannot_be_cohorts_are_refused(manifest: str, name: str) -> None:
    with pytest.raises(BadInput, match="cannot name a cohort"):
        local.check_cohorts({"development": manifest, name: manifest})


def test_something_must_be_trained_on(manifest: str) -> None:
    with pytest.raises(BadInput, match="development"):
        local.check_cohorts({"snuh": manifest})


def test_a_missing_manifest_is_named() -> None:
    with pytest.raises(BadInput, match=r"nowhere\.csv"):
        local.check_cohorts({"development": "/tmp/nowhere.csv"})


def progress_of(folder: Path, *steps: str) -> Path:
    """A progress file in which these steps have begun."""
    path = folder / "progress.jsonl"
    lines = [{"step": s, "pid": 1, "done": 0, "total": 1, "what": ""} for s in steps]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_last_bad_input_in_a_log_becomes_the_answer(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text(
        f"Traceback ...\n\x1b[91m{BadInput.__module__}.BadInput: cohort.csv, row 3, column age: "
        "'abc' is not a number; give the age in years, 18 to 110\x1b[0m\nKeyError: 'Failed'\n"
    )
    error = local._failure(log, progress_of(tmp_path))
    assert isinstance(error, BadInput)
    assert error.subject == "cohort.csv, row 3, column age"
    assert error.problem == "'abc' is not a number"
    assert error.remedy == "give the age in years, 18 to 110"


def test_any_other_failure_is_ours_and_names_the_log(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text(
        'Traceback (most recent call last):\n  File "/app/components/segment/train.py", line 3\n'
        "ZeroDivisionError: division by zero\n"
        'Traceback (most recent call last):\n  File "/lib/kfp/local.py", line 9\n'
        "RuntimeError: Pipeline failed\n"
    )
    error = local._failure(log, progress_of(tmp_path, "cohort", "segment"))
    assert isinstance(error, StepFailed)
    assert str(error) == (
        f"step segment failed: ZeroDivisionError: division by zero; the traceback is in {log}"
    )


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        local._only_run(tmp_path),
        pytest.raises(BadInput, match="another run"),
        local._only_run(tmp_path),
    ):
        pass


def test_links_are_relative_and_replaced(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / "kfp" / name).mkdir(parents=True)
        local._link(tmp_path / "evaluation", tmp_path / "kfp" / name)
    assert (tmp_path / "evaluation").readlink() == Path("kfp/second")


def test_progress_reaches_the_watcher_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "progress.jsonl"
    path.write_text("")
    monkeypatch.setenv(PROGRESS_FILE, str(path))
    seen: list[local.Event] = []
    follower = local._Follower(path, seen.append)
    reporter("preprocess")(1, 3, "p1")
    follower.read()
    with path.open("a") as stream:
        stream.write('{"step": "preprocess", "pid": 1, "do')
    follower.read()
    with path.open("a") as stream:
        stream.write('ne": 2, "total": 3, "what": ""}\n')
    follower.read()
    assert [(event.done, event.total) for event in seen] == [(1, 3), (2, 3)]
