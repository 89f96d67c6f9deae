"""Audit finds every kind of tampering, and names the link that broke."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import BadInput
from components.registry.audit.audit import audit
from components.registry.gate.rules import apply_gate
from components.registry.gate.verdict import GateVerdict
from components.registry.publish import publish_run
from components.registry.settings import PublishSettings
from tests.registry.fabricated_run import fabricate
from tests.registry.shop import Shop

Tamper = Callable[[Shop], None]
REFERENCE = "glioma-idh/2"


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def _file(pattern: str, *, number: int = -1) -> Tamper:
    """Flip one bit of a stored file; the newest of those that match, unless told otherwise."""

    def tamper(shop: Shop) -> None:
        found = sorted((shop.root / "mlflow").glob(pattern), key=lambda f: f.stat().st_mtime_ns)
        # A copy keeps the order in which the originals were written.
        _flip(found[number])

    return tamper


def _sql(statement: str, *values: object) -> Tamper:
    return lambda shop: shop.sql(statement, *values)


def _swap(column: str) -> Tamper:
    """Exchange a field of versions 1 and 2 of the release."""

    def tamper(shop: Shop) -> None:
        where = "WHERE name = 'glioma-idh' AND version"
        values = [shop.ask(f"SELECT {column} FROM model_versions {where} = {v}") for v in (1, 2)]
        for version, value in zip((2, 1), values, strict=True):
            shop.sql(f"UPDATE model_versions SET {column} = ? {where} = {version}", value)

    return tamper


def _move_alias(shop: Shop) -> None:
    shop.sql("UPDATE registered_model_aliases SET version = 1 WHERE alias = 'champion'")


def _rewrite_ledger(shop: Shop) -> None:
    newest = max((shop.root / "mlflow" / "ledger").rglob("*.json"))
    content = json.loads(newest.read_text())
    newest.write_text(json.dumps({**content, "actor": "somebody else"}))


def _drop_first_entry(shop: Shop) -> None:
    min((shop.root / "mlflow" / "ledger").rglob("*.json")).unlink()


def _drop_last_entry(shop: Shop) -> None:
    max((shop.root / "mlflow" / "ledger").rglob("*.json")).unlink()


def _add_artifact(shop: Shop) -> None:
    folder = next((shop.root / "mlflow" / "artifacts").rglob("validation.html")).parent
    for page in (shop.root / "mlflow" / "artifacts").rglob("validation.html"):
        (page.parent / "extra.html").write_text("new")
    assert folder


def _delete(pattern: str) -> Tamper:
    """Delete every stored file of a name."""

    def tamper(shop: Shop) -> None:
        for file in list((shop.root / "mlflow" / "artifacts").rglob(pattern)):
            file.unlink()

    return tamper


ARTIFACTS = "artifacts/*/artifacts"
CASES: dict[str, tuple[Tamper, str]] = {
    "segmenter weights": (
        _file("artifacts/models/*/artifacts/artifacts/files/segmenter/*.safetensors"),
        "model glioma-",
    ),
    "ONNX of the release": (
        _file("artifacts/models/*/artifacts/artifacts/files/repository/*/1/model.onnx"),
        "model glioma-idh/2",
    ),
    "config.pbtxt": (
        _file("artifacts/models/*/artifacts/artifacts/files/repository/*/config.pbtxt"),
        "model glioma-idh/2",
    ),
    "plan in the model": (
        _file("artifacts/models/*/artifacts/artifacts/files/plan.json"),
        "model glioma-",
    ),
    "model code": (_file("artifacts/models/*/artifacts/stored_model.py"), "model glioma-"),
    "manifest": (_file(f"{ARTIFACTS}/manifest.csv"), "pipeline:"),
    "predictions": (_file(f"{ARTIFACTS}/predictions.csv"), "pipeline:"),
    "plan of the run": (_file(f"{ARTIFACTS}/plan.json"), ""),
    "validation report": (_file(f"{ARTIFACTS}/validation.json"), "validate:"),
    "verdict": (_file(f"{ARTIFACTS}/gate.json"), "run: gate.json"),
    "digests": (_file(f"{ARTIFACTS}/digests.json"), "run: digests.json"),
    "metric": (
        _sql("UPDATE latest_metrics SET value = 0.999 WHERE key = 'snuh.hybrid.auroc.value'"),
        "metrics as they were logged",
    ),
    "metric history only": (
        _sql("UPDATE metrics SET value = 0.999 WHERE key = 'snuh.hybrid.auroc.value'"),
        "metrics as they were logged",
    ),
    "parameter": (
        _sql("UPDATE params SET value = 'phantom' WHERE key = 'trained_on'"),
        "parameters as they were logged",
    ),
    "commit": (
        _sql("UPDATE tags SET value = 'f' WHERE key = 'mlflow.source.git.commit'"),
        "tags as they were set",
    ),
    "dataset": (
        _sql("UPDATE datasets SET digest = 'g' || substr(digest, 2) WHERE name = 'snuh'"),
        "data: datasets",
    ),
    "tag of a step": (
        _sql("UPDATE tags SET value = 'x' WHERE key = 'code_version'"),
        "classify: 14 tags",
    ),
    "verdict's tag": (
        _sql("UPDATE model_version_tags SET value = 'refused' WHERE key = 'gate'"),
        "is what was registered",
    ),
    "plan's tag": (
        _sql("UPDATE model_version_tags SET value = 'x' WHERE key = 'plan'"),
        "is what was registered",
    ),
    "trained on": (
        _sql("UPDATE model_version_tags SET value = 'x' WHERE key = 'trained_on'"),
        "is what was registered",
    ),
    "versions swapped by source": (_swap("source"), "is what was registered"),
    "versions swapped by run": (_swap("run_id"), "is what was registered"),
    "versions swapped on disk": (_swap("storage_location"), "model glioma-idh/2"),
    "alias moved": (_move_alias, "aliases"),
    "ledger rewritten": (_rewrite_ledger, "ledger"),
    "ledger without its start": (_drop_first_entry, "ledger"),
    "ledger without its end": (_drop_last_entry, "registration is in the ledger"),
    "artifact added": (_add_artifact, "validate:"),
    "artifact deleted": (_delete("report.html"), "artifacts"),
    "evaluation deleted": (_delete("evaluation.json"), "figures: can be read"),
    "code deleted": (_delete("environment.json"), "code: can be read"),
    "version deleted": (
        _sql("DELETE FROM model_versions WHERE name = 'glioma-segmenter'"),
        "registry: can be read",
    ),
    "run deleted": (
        _sql("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name = 'classify'"),
        "classify: has its run",
    ),
}


QUICK = {
    "segmenter weights", "config.pbtxt", "plan in the model", "manifest", "metric",
    "versions swapped by source", "alias moved", "ledger rewritten", "dataset", "verdict's tag",
    "evaluation deleted",
}  # fmt: skip
"""Every kind of link once; the others take a second each as well."""


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=[] if c in QUICK else pytest.mark.slow, id=c) for c in CASES],
)
def test_tampering_is_found(tampered: Callable[[], Shop], case: str) -> None:
    tamper, link = CASES[case]
    shop = tampered()
    tamper(shop)
    report = audit(REFERENCE, shop.uri)
    assert not report.ok
    broken = [check.what for check in report.checks if not check.ok]
    assert any(link in what for what in broken), broken


def test_the_copy_itself_is_whole(tampered: Callable[[], Shop]) -> None:
    report = audit(REFERENCE, tampered().uri)
    assert report.ok, [check for check in report.checks if not check.ok]


def test_an_exported_repository_is_checked(shop: Shop, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "repository"
    shutil.copytree(shop.runs[1].repository, copy)
    assert audit(REFERENCE, shop.uri, local=copy).ok
    _flip(copy / "segmenter" / "config.pbtxt")
    report = audit(REFERENCE, shop.uri, local=copy)
    assert [c.what for c in report.checks if not c.ok] == [f"repository {copy}: 6 files"]
    assert audit("glioma-idh/1", shop.uri, local=shop.runs[1].repository).ok is False


def test_a_verdict_that_does_not_follow_is_found(
    anywhere: PublishSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate that lied when it judged: its digest is in the ledger, but its rules say otherwise."""

    def lenient(*given: Any) -> GateVerdict:
        verdict = apply_gate(*given)
        rules = tuple(rule.model_copy(update={"passed": True}) for rule in verdict.rules)
        return verdict.model_copy(update={"rules": rules, "passed": True, "promotable": True})

    monkeypatch.setattr("components.registry.publish.apply_gate", lenient)
    done = publish_run(fabricate(tmp_path / "weak", skill=0.2), anywhere)
    assert done.promotion == "champion"
    broken = [c.what for c in audit("champion", anywhere.tracking_uri).checks if not c.ok]
    assert broken and all(what.startswith("gate: ") for what in broken)
    assert any(what.startswith("gate: better_than_age passed") for what in broken)


def test_a_run_folder_is_checked_file_by_file(shop: Shop, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(shop.runs[1].predictions.parent, folder)
    assert audit(REFERENCE, shop.uri, local=folder).ok
    for name in ("validated/accepted.csv", "segmenter/member_0.safetensors"):
        content = (folder / name).read_bytes()
        _flip(folder / name)
        report = audit(REFERENCE, shop.uri, local=folder)
        where = f"{Path(name).parent} {folder}"
        assert any(check.what.startswith(where) for check in report.checks if not check.ok)
        (folder / name).write_bytes(content)
    with pytest.raises(BadInput, match="no run's folder"):
        audit(REFERENCE, shop.uri, local=tmp_path)


def test_images_that_changed_are_named(tampered: Callable[[], Shop]) -> None:
    shop = tampered()
    run = shop.runs[1]
    for name in ("repository", "validated", "images"):
        (shop.root / name).symlink_to(getattr(run, name, run.validated.parent / name))
    image = run.validated.parent / "images" / "SN-003.nii.gz"
    content = image.read_bytes()
    try:
        assert "data: 170 images present" in [c.what for c in audit(REFERENCE, shop.uri).checks]
        image.write_bytes(b"another")
        broken = [check for check in audit(REFERENCE, shop.uri).checks if not check.ok]
        assert [check.found for check in broken] == [["SN-003 t1c"]]
    finally:
        image.write_bytes(content)
