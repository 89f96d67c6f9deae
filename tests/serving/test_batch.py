"""A manifest through a real server: streamed, resumed, the bad set apart; and secrets kept in."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from components.cohort.manifest import read_manifest, write_manifest
from components.cohort.phantom.dataset import make_cohort
from components.cohort.phantom.settings import PhantomSettings
from components.cohort.phantom.sites import site_named
from components.core.errors import BadInput, Outage
from components.core.files import read_json
from serving.batch import predict_manifest
from serving.client.client import Access, Client


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good patients, one without its FLAIR file, one too young."""
    folder = tmp_path_factory.mktemp("cohort")
    made = make_cohort(
        site_named("severance"), 2, 3, folder / "made", PhantomSettings(resolution_mm=2.0)
    )
    good = read_manifest(made)
    path = folder / "manifest.csv"
    write_manifest(path, good)
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    rows += [
        {**rows[0], "patient_id": "lost", "flair": "gone.nii.gz"},
        {**rows[0], "patient_id": "young", "age": "9"},
        dict(rows[1]),
    ]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def _table(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_a_manifest_is_answered_and_a_second_run_keeps_what_is_there(
    client: Client, manifest: Path, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    first = predict_manifest(
        client, manifest, tmp_path, progress=lambda done, total, _: seen.append((done, total))
    )
    assert (first.answered, first.kept) == (2, 0)
    assert seen[-1] == (5, 5)
    reasons = {row["patient_id"]: row["reason"] for row in _table(tmp_path / "quarantine.csv")}
    assert "no such image" in reasons["lost"]
    assert "age" in reasons["young"]
    assert len(reasons) == 3
    rows = {row["patient_id"]: row for row in _table(tmp_path / "predictions.csv")}
    assert len(rows) == 2
    for name, row in rows.items():
        content = read_json(tmp_path / name / "prediction.json")
        assert content["patient_id"] == name
        assert row["status"] == content["status"]
        assert (tmp_path / name / "tumor_mask.nii.gz").is_file()
        assert name in (tmp_path / name / "prediction.html").read_text()

    changed, untouched = sorted(rows)
    before = (tmp_path / untouched / "prediction.json").stat().st_mtime_ns
    (tmp_path / changed / "source.json").write_text("{")
    second = predict_manifest(client, manifest, tmp_path)
    assert (second.answered, second.kept) == (2, 1)
    assert (tmp_path / untouched / "prediction.json").stat().st_mtime_ns == before
    assert len(_table(tmp_path / "predictions.csv")) == 2


def test_an_absent_server_quarantines_nobody(manifest: Path, tmp_path: Path) -> None:
    with Client("localhost:9", deadline_s=0.5) as nobody, pytest.raises(Outage):
        predict_manifest(nobody, manifest, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_token_does_not_travel_unencrypted(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--tls"):
        Access(token="secret")
    with pytest.raises(BadInput, match="no such file"):
        Access(tls=True, certificates=tmp_path / "ca.pem")
    assert "secret" not in repr(Access(tls=True, token="secret"))
