"""The ledger's head, time-stamped outside, finds history that was rewritten as a whole."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from components.core.errors import BadInput, Outage
from components.core.files import sha256_file
from components.registry.audit.audit import audit
from components.registry.audit.links import AuditReport
from components.registry.ledger import GENESIS, Entry, read_ledger
from components.registry.ledger_store import EXPERIMENT
from components.registry.promote import promote
from components.registry.publish import publish_run
from components.registry.settings import PublishSettings
from components.registry.tracking.store import connect_to, first_run
from components.registry.witness.timestamp import request_timestamp
from components.registry.witness.witness import keep_witness, kept_tokens
from pipelines import cli
from tests.registry.authority import Authority, time_stamp_authority
from tests.registry.fabricated_run import fabricate
from tests.registry.servers import free_port
from tests.registry.shop import Shop


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    with time_stamp_authority(tmp_path / "authority") as running:
        yield running


@pytest.fixture
def stamped(
    tampered: Callable[[], Shop], authority: Authority, tmp_path: Path
) -> tuple[Shop, Path]:
    """A shop of two releases, and the auditor's folder with a time-stamp of its ledger."""
    shop, folder = tampered(), tmp_path / "witness"
    keep_witness(folder, shop.uri, authority.url, authority.root)
    return shop, folder


def broken(report: AuditReport) -> list[str]:
    return [f"{check.what}: {check.found}" for check in report.checks if not check.ok]


def test_publishing_has_its_entry_stamped_and_openssl_agrees(
    anywhere: PublishSettings, authority: Authority, tmp_path: Path
) -> None:
    settings = anywhere.model_copy(update={"timestamp": authority.url})
    folder = tmp_path / "witness"
    publish_run(fabricate(tmp_path / "one"), settings)
    uri = settings.tracking_uri
    assert len(kept_tokens(connect_to(uri))) == 1
    command = ["witness", str(folder), "--root", str(authority.root), "--tracking-uri", uri]
    assert cli.run(command) == 0
    publish_run(fabricate(tmp_path / "two", seed=3, skill=2.7), settings)
    promote("glioma-idh/1", uri, "Ada: after all")
    assert authority.answered == 3, "a promotion is stamped where publications are"
    proved = keep_witness(folder, uri)
    assert (proved.number, proved.entries, authority.answered) == (3, 3, 3)
    assert audit("glioma-idh@champion", uri, witness=folder).ok
    store = connect_to(uri)
    ledger = first_run(store, EXPERIMENT, step="ledger")
    assert ledger is not None
    place = Path(store.client.download_artifacts(ledger.info.run_id, "entries", str(tmp_path)))
    entries = {file.stem: file for file in place.glob("*.json")}
    tokens = sorted(folder.glob("*.tsr"))
    assert [token.stem for token in tokens] == sorted(entries)
    for token in tokens:
        command = ["openssl", "ts", "-verify", "-in", str(token), "-data", str(entries[token.stem])]
        done = subprocess.run(
            [*command, "-CAfile", str(folder / "authority.pem")], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_an_administrator_who_replaces_everything_is_found(
    empty: PublishSettings, authority: Authority, cold_store: Path, tmp_path: Path
) -> None:
    """Behind the address is now a store of another run, written by this very program."""
    shutil.copytree(cold_store, tmp_path / "other")
    folder, uri = tmp_path / "witness", f"sqlite:///{tmp_path}/other/mlflow/mlflow.db"
    publish_run(fabricate(tmp_path / "true", skill=2.5), empty)
    keep_witness(folder, empty.tracking_uri, authority.url, authority.root)
    assert audit("glioma-idh/1", empty.tracking_uri, witness=folder).ok
    other = empty.model_copy(update={"tracking_uri": uri, "timestamp": authority.url})
    publish_run(fabricate(tmp_path / "false", skill=3.5), other)
    assert audit("glioma-idh/1", uri).ok, "in itself it agrees, time-stamps and all"
    (found,) = broken(audit("glioma-idh/1", uri, witness=folder))
    assert "history was rewritten: entry 1 is another" in found
    files = sorted(folder.iterdir())
    with pytest.raises(BadInput, match="history was rewritten"):
        keep_witness(folder, uri)
    assert sorted(folder.iterdir()) == files


def test_an_administrator_who_rewrites_in_place_is_found(stamped: tuple[Shop, Path]) -> None:
    """Verdict, artifacts, database and every hash of the ledger, made to agree with each other."""
    shop, folder = stamped
    store, previous = shop.root / "mlflow", GENESIS
    shutil.rmtree(next((store / "ledger").rglob("timestamps")))
    for file in sorted((store / "ledger").rglob("entries/*.json")):
        content = json.loads(file.read_text())
        digests = content["details"]["sha256"]
        old = digests["gate.json"]
        verdicts = (store / "artifacts").rglob("gate.json")
        for gate in [path for path in verdicts if sha256_file(path) == old]:
            gate.write_text(gate.read_text() + "\n")
            digests["gate.json"] = sha256_file(gate)
            if gate.parent.name == old:
                gate.parent.rename(gate.parent.with_name(digests["gate.json"]))
        entry = Entry(**{**content, "previous": previous, "actor": "nobody else"})
        file.unlink()
        (file.parent / f"{entry.number:06d}-{entry.hash}.json").write_text(entry.to_json())
        was = file.stem[7:]
        shop.sql("UPDATE model_version_tags SET value = ? WHERE value = ?", entry.hash, was)
        previous = entry.hash
    report = audit("glioma-idh/2", shop.uri)
    assert report.ok, broken(report)
    (found,) = broken(audit("glioma-idh/2", shop.uri, witness=folder))
    assert "history was rewritten: entry 2 is another" in found


def test_history_that_ends_earlier_is_found(stamped: tuple[Shop, Path]) -> None:
    shop, folder = stamped
    max((shop.root / "mlflow" / "ledger").rglob("entries/*.json")).unlink()
    found = broken(audit("glioma-idh/1", shop.uri, witness=folder))
    assert any("entry 2 is missing, and is not what was there on" in text for text in found)
    assert any(text.startswith("witness: 1 time-stamps beside the ledger") for text in found)


def test_entries_since_then_are_said_to_be_unwitnessed(stamped: tuple[Shop, Path]) -> None:
    shop, folder = stamped
    promote("glioma-idh/1", shop.uri, "Ada: after all")
    report = audit("glioma-idh/1", shop.uri, witness=folder)
    assert report.ok, broken(report)
    assert any("entries 1 to 2 of 3" in check.what for check in report.checks)


@pytest.mark.parametrize(
    "kind", ["other authority", "one bit", "another entry's", "another's root"]
)
def test_a_time_stamp_that_does_not_hold_is_found(
    stamped: tuple[Shop, Path], tmp_path: Path, kind: str
) -> None:
    shop, folder = stamped
    (token,) = folder.glob("*.tsr")
    entries = read_ledger(connect_to(shop.uri)).entries
    if kind == "one bit":
        content = bytearray(token.read_bytes())
        content[len(content) // 2] ^= 1
        token.write_bytes(content)
    elif kind == "another entry's":
        token.rename(token.with_name(f"000001-{entries[0].hash}.tsr"))
    else:
        with time_stamp_authority(tmp_path / "other") as other:
            if kind == "another's root":
                shutil.copy(other.root, folder / "authority.pem")
            else:
                answer = request_timestamp(other.url, entries[-1].to_json().encode())
                token.write_bytes(answer)
    (found,) = broken(audit("glioma-idh/1", shop.uri, witness=folder))
    why = "something else" if kind == "another entry's" else "does not hold"
    assert why in found


def test_an_authority_that_replays_is_refused(
    stamped: tuple[Shop, Path], authority: Authority
) -> None:
    shop, folder = stamped
    old = next(folder.glob("*.tsr")).read_bytes()
    authority.replayed = old
    with pytest.raises(BadInput, match="something else"):
        request_timestamp(authority.url, b"another")
    newest = read_ledger(connect_to(shop.uri)).entries[-1]
    with pytest.raises(BadInput, match="another request"):
        request_timestamp(authority.url, newest.to_json().encode())
    authority.replayed = b"no DER"
    with pytest.raises(Outage, match="no time-stamp from there"):
        request_timestamp(authority.url, b"another")


def test_an_authority_that_is_away_stops_no_publication(
    empty: PublishSettings, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = f"http://127.0.0.1:{free_port()}/"
    settings = empty.model_copy(update={"timestamp": away})
    with caplog.at_level(logging.WARNING):
        assert publish_run(fabricate(tmp_path / "one"), settings).promotion == "champion"
    assert "the ledger's head was not time-stamped" in caplog.text
    folder, uri = tmp_path / "witness", settings.tracking_uri
    with pytest.raises(BadInput, match="nothing is time-stamped"):
        keep_witness(folder, uri, root=authority.root)
    with pytest.raises(Outage, match="no time-stamp from there"):
        keep_witness(folder, uri, away, authority.root)
    assert not folder.exists()
    assert keep_witness(folder, uri, authority.url, authority.root).number == 1


def test_an_auditor_who_may_only_read_keeps_the_time_stamp(
    tampered: Callable[[], Shop],
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> None:
        raise MlflowException("403 PERMISSION_DENIED")

    monkeypatch.setattr("components.registry.witness.witness.write_artifact", refused)
    shop, folder = tampered(), tmp_path / "witness"
    assert keep_witness(folder, shop.uri, authority.url, authority.root).number == 2
    assert not kept_tokens(connect_to(shop.uri))
    report = audit("glioma-idh/2", shop.uri, witness=folder)
    assert report.ok, broken(report)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("audit glioma-idh/2 --witness gone", "gone"),
        ("audit glioma-idh/2 --approvers gone.yaml", "no such file"),
        ("witness new", "no certificates there"),
        ("witness new --root text", "no certificates there"),
        ("witness new --root authority/root.crt", "nothing is time-stamped"),
        ("audit glioma-idh/2 --witness authority", "no certificates there"),
        ("audit glioma-idh/2 --witness bare", "holds no time-stamps"),
    ],
)
def test_bad_input_is_one_line(
    shop: Shop,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("none")
    (tmp_path / "bare").mkdir()
    shutil.copy(authority.root, tmp_path / "bare" / "authority.pem")
    assert cli.run([*command.split(), "--tracking-uri", shop.uri]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert why in line
    assert not (tmp_path / "new").exists()


def test_the_address_of_an_authority_is_a_web_address() -> None:
    with pytest.raises(ValueError, match="http"):
        PublishSettings(timestamp="tsa.example.org")
