"""Retraining on a new manifest: the challenger meets the champion on the test sets of both."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import BadInput
from components.core.files import sha256_file
from components.registry import names
from components.registry.audit.audit import audit
from components.registry.gate import champion as rematch
from components.registry.gate.verdict import GateVerdict
from components.registry.ledger_sync import found_aliases
from components.registry.names import RegisteredModel
from components.registry.publish import publish_run
from components.registry.settings import PublishSettings
from components.registry.tracking.store import TrackingStore, connect
from tests.registry.fabricated_run import fabricate
from tests.registry.shop import Shop

RELEASE = RegisteredModel.RELEASE.value
FROZEN = {"internal": 60, "snuh": 60}
MORE = {**FROZEN, "tcia": 40}
"""A later manifest: the same test patients, and 40 that the champion never met."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Rows the champion was asked about; it answers by age, as poorly as age does."""
    rows: list[dict[str, Any]] = []

    def model(*_: object) -> Callable[[dict[str, Any]], float | None]:
        def ask(row: dict[str, Any]) -> float | None:
            rows.append(row)
            return 1.0 if row["age"] < 50 else 0.2

        return ask

    monkeypatch.setattr(rematch, "_model", model)
    return rows


def rule(gate: GateVerdict, name: str = "non_inferior_to_champion") -> dict[str, Any]:
    return next(one.model_dump() for one in gate.rules if one.rule == name)


def aliases(settings: PublishSettings) -> dict[str, str]:
    return found_aliases(connect(settings))[RELEASE]


def test_an_inferior_challenger_is_refused_and_a_better_one_promoted(
    anywhere: PublishSettings, tmp_path: Path, asked: list[dict[str, Any]]
) -> None:
    assert publish_run(fabricate(tmp_path / "a", skill=3.0), anywhere).promotion == "champion"
    worse = publish_run(fabricate(tmp_path / "b", seed=5, skill=1.2, sets=MORE), anywhere)
    assert worse.promotion == ""
    assert len(asked) == 40 and Path(asked[0]["t1c"]).is_file()
    said = rule(worse.gate)
    assert not said["passed"]
    assert (said["found"]["shared_patients"], said["found"]["union"]) == (160, 160)
    assert len(said["found"]["asked"]) == 40
    assert said["found"]["high"] < 0
    store = connect(anywhere)
    version = store.client.get_model_version(RELEASE, worse.registered[RELEASE])
    assert version.tags[names.GATE] == "refused"
    assert "non_inferior_to_champion" in version.tags[names.REFUSED_BECAUSE]
    run = store.client.get_run(str(worse.mlflow_run_id))
    assert "REFUSED: `non_inferior_to_champion`" in run.data.tags["mlflow.note.content"]
    assert aliases(anywhere) == {"candidate": "2", "champion": "1"}
    better = publish_run(fabricate(tmp_path / "c", seed=6, skill=3.4, sets=MORE), anywhere)
    assert better.promotion == "champion", better.gate
    assert rule(better.gate)["found"]["shared_patients"] == 160
    assert aliases(anywhere) == {"candidate": "3", "champion": "3"}
    for number in "123":
        report = audit(f"{RELEASE}/{number}", anywhere.tracking_uri)
        assert report.ok, [check for check in report.checks if not check.ok]
    # Its own answers are kept: the next challenger on the same patients asks nobody.
    asked.clear()
    publish_run(fabricate(tmp_path / "d", seed=7, skill=3.5, sets=MORE), anywhere)
    assert asked == []


@pytest.mark.parametrize(
    "case",
    ["told not to", *(pytest.param(c, marks=pytest.mark.slow) for c in ("refuses", "no answer"))],
)
def test_a_union_that_cannot_be_compared_is_no_proof(
    tampered: Callable[[], Shop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    shop = tampered()

    def ask(row: dict[str, Any]) -> float | None:
        if case == "refuses":
            raise BadInput(row["t1c"], "too thin", "give the whole volume")
        return None

    monkeypatch.setattr(rematch, "_model", lambda *_: ask)
    settings = shop.settings.model_copy(update={"ask_champion": case != "told not to"})
    done = publish_run(fabricate(tmp_path / "b", seed=6, skill=3.4, sets=MORE), settings)
    said = rule(done.gate)
    assert "only 120 of 160 test patients" in said["reason"]
    assert len(said["found"]["left_out"]) == 40
    words = {"told not to": "not asked", "refuses": "too thin", "no answer": "no probability"}
    assert all(words[case] in why for why in said["found"]["left_out"].values())
    assert done.promotion == ""


def _resplit(run: Path, patient: str, subset: str) -> None:
    """Move a patient of a run to another part, without its predictions."""
    path = run / "validated" / "accepted.csv"
    rows = list(csv.DictReader(path.open(newline="")))
    for row in rows:
        if row["patient_id"] == patient:
            row["subset"], row["cohort"] = subset, "development"
    for file, content in ((path, rows), (run / "predictions.csv", None)):
        content = content or [
            row for row in csv.DictReader(file.open(newline="")) if row["patient_id"] != patient
        ]
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(content[0]))
            writer.writeheader()
            writer.writerows(content)


def test_frozen_test_patients_may_not_be_learnt_from(
    tampered: Callable[[], Shop], tmp_path: Path
) -> None:
    shop = tampered()
    run = fabricate(tmp_path / "b", seed=6, skill=3.4)
    _resplit(tmp_path / "b", "SN-003", "training")
    done = publish_run(run, shop.settings)
    said = rule(done.gate)
    assert "1 patients of the champion's frozen test sets" in said["reason"]
    assert (said["found"]["spoilt"], done.promotion) == (["SN-003"], "")


def test_patients_the_champion_learnt_from_are_not_compared(
    tampered: Callable[[], Shop], tmp_path: Path, asked: list[dict[str, Any]]
) -> None:
    """By id or by image: its answer about them would be no test."""
    shop = tampered()
    run = fabricate(tmp_path / "b", seed=6, skill=3.4, sets=MORE)
    validated = run.validated / "images.csv"
    own, other = (
        sha256_file(tmp_path / "b" / "images" / f"{name}.nii.gz") for name in ("TC-001", "TR-004")
    )
    validated.write_text(validated.read_text().replace(own, other))
    done = publish_run(run, shop.settings)
    said = rule(done.gate)
    assert said["found"]["left_out"] == {"TC-001": "the champion learnt from it"}
    assert "TC-001" not in {row["patient_id"] for row in asked}


def test_an_altered_champion_is_not_run(tampered: Callable[[], Shop], tmp_path: Path) -> None:
    shop = tampered()
    code = [
        file
        for file in (shop.root / "mlflow" / "artifacts" / "models").rglob("stored_model.py")
        if file.is_file()
    ]
    for file in code:
        file.chmod(0o644)
        file.write_text(f"{file.read_text()}\nopen({json.dumps(str(tmp_path / 'ran'))}, 'w')\n")
    with pytest.raises(BadInput, match="altered since it was published"):
        publish_run(fabricate(tmp_path / "b", seed=6, skill=3.4, sets=MORE), shop.settings)
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_the_champion_that_came_meanwhile_is_met(
    tampered: Callable[[], Shop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third run is promoted while the second asks: the second is judged against it."""
    shop = tampered()
    real = rematch.meet_champion
    third = fabricate(tmp_path / "c", seed=8, skill=3.6)
    other: list[str] = []

    def slow(store: TrackingStore, *args: Any, **more: Any) -> Any:
        met = real(store, *args, **more)
        if not other:
            other.append("")
            other[0] = publish_run(third, shop.settings).release
        return met

    monkeypatch.setattr("components.registry.publish.meet_champion", slow)
    done = publish_run(fabricate(tmp_path / "b", seed=9, skill=1.5), shop.settings)
    assert rule(done.gate)["found"]["champion"] == other[0]
    assert aliases(shop.settings) == {"candidate": "4", "champion": "3"}
