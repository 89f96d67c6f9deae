"""Releases for servers: a reader finds the one before or this one, whole, whatever happens."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import boto3
import pytest

from components.core.errors import BadInput, Outage
from components.core.files import sha256_tree
from components.release import store as depot
from components.release.depot import open_depot
from tests.registry.fabricated_run import fabricate, seal

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from components.release import depot as places, store as depot
calls, at = 0, int(sys.argv[4])
def counted(method):
    def wrapper(*arguments):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*arguments)
    return wrapper
for kind in (places._Bucket, places._Folder):
    for name in ("read", "write", "put", "digest", "get"):
        setattr(kind, name, counted(getattr(kind, name)))
where, address, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
if sys.argv[5] == "push":
    depot.point(address, depot.push(where, address))
else:
    depot.fetch(address, folder)
print(calls)
"""
"""Push and point, or fetch, killed before the n-th call to the depot."""


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two releases."""
    root = tmp_path_factory.mktemp("releases")
    made = []
    for index in range(2):
        repository = fabricate(root / str(index)).repository
        (repository / "segmenter" / "note.txt").write_text(f"{index}")
        seal(repository, trained_on="patients", plan="0" * 64)
        made.append(repository)
    return made


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "depot")
    request.getfixturevalue("s3")
    return "s3://bucket/served"


def spoil(address: str, name: str, content: bytes) -> None:
    """Replace a file of a depot behind everyone's back."""
    if address.startswith("s3://"):
        bucket, _, key = f"{address}/{name}".removeprefix("s3://").partition("/")
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=content)
    else:
        (Path(address) / name).write_bytes(content)


def run_killed(repository: Path, address: str, folder: Path, at: int, what: str) -> int:
    command = [sys.executable, "-c", KILLED, str(repository), address, str(folder), str(at), what]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, -9), done.stderr
    return int(done.stdout) if done.returncode == 0 else 0


def test_what_was_pushed_is_fetched(repositories: list[Path], address: str, tmp_path: Path) -> None:
    assert depot.current(address) is None
    with pytest.raises(BadInput, match="no release is served"):
        depot.fetch(address, tmp_path / "here")
    first = depot.push(repositories[0], address)
    assert depot.current(address) is None, "pushed, but not served"
    depot.point(address, first, "entry")
    folder = depot.fetch(address, tmp_path / "here")
    assert folder == tmp_path / "here" / first
    assert sha256_tree(folder) == sha256_tree(repositories[0])
    assert depot.push(repositories[0], address) == first
    second = depot.push(repositories[1], address)
    assert depot.fetch(address, tmp_path / "here") == folder
    depot.point(address, second)
    assert sha256_tree(depot.fetch(address, tmp_path / "here")) == sha256_tree(repositories[1])
    with pytest.raises(BadInput, match="not there"):
        depot.point(address, "glioma-idh-000000000000")


@pytest.mark.parametrize(
    ("what", "at"),
    [pytest.param("push", 9, marks=pytest.mark.slow), ("push", 17), ("fetch", 6)],
)
def test_killed_in_between_nothing_half_is_seen(
    repositories: list[Path], address: str, tmp_path: Path, what: str, at: int
) -> None:
    first = depot.push(repositories[0], address)
    depot.point(address, first)
    if what == "fetch":
        depot.point(address, depot.push(repositories[1], address))
    here = tmp_path / "here"
    assert run_killed(repositories[1], address, here, at, what) == 0
    assert not list(here.glob("glioma*"))
    whole = depot.fetch(address, tmp_path / "other")
    assert sha256_tree(whole) in [sha256_tree(repository) for repository in repositories]
    assert run_killed(repositories[1], address, here, 1000, what)
    if what == "push":
        depot.fetch(address, here)
    (folder,) = here.glob("glioma*")
    assert sha256_tree(folder) == sha256_tree(repositories[1])


def test_a_killed_fetch_goes_on(repositories: list[Path], s3: Any, tmp_path: Path) -> None:
    address, here = "s3://bucket/served", tmp_path / "here"
    depot.point(address, depot.push(repositories[0], address))
    run_killed(repositories[0], address, here, 6, "fetch")
    (partial,) = here.glob(".*.part")
    there = {file: file.stat().st_mtime_ns for file in partial.rglob("*") if file.is_file()}
    assert there
    first, *others = sorted(there)
    first.write_bytes(b"half")
    folder = depot.fetch(address, here)
    assert sha256_tree(folder) == sha256_tree(repositories[0])
    assert others
    for file in others:
        assert (folder / file.relative_to(partial)).stat().st_mtime_ns == there[file]


def test_a_reader_never_sees_a_mixture(
    repositories: list[Path], address: str, tmp_path: Path
) -> None:
    truths = [sha256_tree(repository) for repository in repositories]
    ids = [depot.push(repository, address) for repository in repositories]
    depot.point(address, ids[0])
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            for release in ids:
                depot.point(address, release)

    writer = threading.Thread(target=flip)
    writer.start()
    try:
        seen = [sha256_tree(depot.fetch(address, tmp_path / str(i))) for i in range(8)]
    finally:
        stop.set()
        writer.join()
    assert all(one in truths for one in seen)


def _pickled(address: str, release: str) -> None:
    spoil(address, f"releases/{release}/segmenter/note.txt", pickle.dumps([1]))


def _traversing(address: str, release: str) -> None:
    _manifest(address, release, "../../escape.txt")


def _altered(address: str, release: str) -> None:
    spoil(address, f"releases/{release}/segmenter/config.pbtxt", b"altered")


def _other_manifest(address: str, release: str) -> None:
    spoil(address, f"releases/{release}/release.json", b"{}")


def _strange_pointer(address: str, release: str) -> None:
    pointer = {"release": "../../etc", "manifest_sha256": "0" * 64}
    spoil(address, "current.json", json.dumps(pointer).encode())


def _manifest(address: str, release: str, name: str) -> None:
    """Name another file in release.json, and point at that."""
    place = f"releases/{release}/release.json"
    content = json.loads(open_depot(address).read(place) or b"")
    content["files"][name] = "0" * 64
    spoil(address, place, json.dumps(content).encode())
    depot.point(address, release)


MALICE = {
    "altered": (_altered, "config.pbtxt: differs from"),
    "pickle": (_pickled, "note.txt: differs from"),
    "another manifest": (_other_manifest, "not the one that is served"),
    "path that leaves its folder": (_traversing, "leaves its folder"),
    "pointer elsewhere": (_strange_pointer, "no release id"),
}


@pytest.mark.parametrize("case", MALICE)
def test_what_does_not_hold_is_refused(
    repositories: list[Path], address: str, tmp_path: Path, case: str
) -> None:
    release = depot.push(repositories[0], address)
    depot.point(address, release)
    harm, said = MALICE[case]
    harm(address, release)
    with pytest.raises(BadInput, match=said):
        depot.fetch(address, tmp_path / "here")
    assert not list((tmp_path / "here").glob("glioma*"))
    assert not (tmp_path / "escape.txt").exists()


def test_a_listed_pickle_and_a_giant_are_refused(
    repositories: list[Path], address: str, tmp_path: Path
) -> None:
    import shutil

    repository = tmp_path / "repository"
    shutil.copytree(repositories[0], repository)
    depot.point(address, depot.push(repository, address))
    with pytest.raises(BadInput, match="more than 1e-05 MB"):
        depot.fetch(address, tmp_path / "small", max_file_mb=1e-5)
    (repository / "segmenter" / "note.txt").write_bytes(pickle.dumps([1]))
    seal(repository, trained_on="patients", plan="0" * 64)
    depot.point(address, depot.push(repository, address))
    with pytest.raises(BadInput, match="holds a pickle"):
        depot.fetch(address, tmp_path / "here")
    assert not list((tmp_path / "here").glob("glioma*"))


def test_a_place_that_is_away_is_an_outage(
    repositories: list[Path], s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "s3://bucket/served"
    depot.point(address, depot.push(repositories[0], address))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Outage):
        depot.fetch(address, tmp_path / "here")
    with pytest.raises(Outage):
        depot.push(repositories[1], address)
