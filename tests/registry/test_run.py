"""Publishing: what auditors find afterwards, and that doing it twice changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.core.errors import BadInput
from components.core.files import sha256_file, sha256_tree
from components.registry import names
from components.registry.audit.audit import audit
from components.registry.ledger import read_ledger
from components.registry.ledger_sync import found_aliases
from components.registry.names import Alias, RegisteredModel
from components.registry.promote import promote, rollback
from components.registry.publish import publish_run
from components.registry.settings import PublishSettings
from components.registry.tracking.lineage import children
from components.registry.tracking.model_versions import fetch_repository, resolve
from components.registry.tracking.store import connect
from tests.registry.fabricated_run import fabricate, seal
from tests.registry.shop import Shop

RELEASE = RegisteredModel.RELEASE.value


def test_the_run_tree_says_what_an_auditor_asks(shop: Shop) -> None:
    store = connect(shop.settings)
    done = shop.published[1]
    parent = store.client.get_run(done.mlflow_run_id)
    assert parent.info.run_name == done.release
    assert parent.info.status == "FINISHED"
    tags = parent.data.tags
    assert tags[names.TRAINED_ON] == "patients"
    assert tags["kfp_run_id"] == "run-1"
    page = tags["mlflow.note.content"]
    assert "| snuh | 60 |" in page
    accepted = sha256_file(shop.runs[1].validated / "accepted.csv")
    entry = read_ledger(store).publication(tags[names.PUBLICATION])
    assert entry is not None
    for told in (accepted, entry.hash, tags["kfp_run_id"], "60 patients (external test)"):
        assert told in page
    assert tags[names.GATE] == "passed"
    metrics = parent.data.metrics
    assert metrics["snuh.hybrid.auroc.low"] < metrics["snuh.hybrid.auroc.value"]
    steps = children(store, parent.info.experiment_id, parent.info.run_id)
    assert set(steps) == {
        "validate", "preprocess", "segment", "features", "classify", "evaluate", "export"
    }  # fmt: skip
    curve = store.client.get_metric_history(steps["segment"].info.run_id, "member_1.loss")
    assert [(point.step, point.value) for point in curve][:2] == [(0, 0.5), (1, 1 / 3)]
    datasets = {d.dataset.name: d for d in parent.inputs.dataset_inputs}
    assert set(datasets) == {"development", "snuh"}
    assert all(len({t.key: t.value for t in d.tags}["sha256"]) == 64 for d in datasets.values())


def test_environment_is_recorded(shop: Shop, tmp_path: Path) -> None:
    store = connect(shop.settings)
    run = shop.published[0].mlflow_run_id
    path = store.client.download_artifacts(run, "environment.json", str(tmp_path))
    content = json.loads(Path(path).read_text())
    assert content["packages"]["mlflow"]
    assert set(content["hardware"]) >= {"processor", "cores", "memory_gib", "gpu", "python"}


def test_no_column_of_the_user_leaves_the_site(shop: Shop) -> None:
    leaked = [
        file
        for folder in ("artifacts", "ledger")
        for file in (shop.root / "mlflow" / folder).rglob("*")
        if file.is_file() and (b"Doe" in file.read_bytes() or b"surname" in file.read_bytes())
    ]
    assert not leaked
    assert b"Doe" not in (shop.root / "mlflow" / "mlflow.db").read_bytes()


def test_nothing_pickled_is_stored(shop: Shop) -> None:
    kinds = {f.suffix for f in (shop.root / "mlflow").rglob("*") if f.is_file()}
    assert not kinds & {".pkl", ".pickle", ".pt", ".pth", ".joblib"}


def test_versions_and_aliases(shop: Shop) -> None:
    store = connect(shop.settings)
    everything = {"candidate": "2", "champion": "2"}
    assert found_aliases(store) == {model.value: everything for model in RegisteredModel}
    assert resolve(store, f"{RELEASE}@champion").version == resolve(store, "2").version
    assert resolve(store, RELEASE).tags[names.RELEASE] == shop.published[1].release


def test_publishing_twice_is_publishing_once(shop: Shop) -> None:
    entries = len(read_ledger(connect(shop.settings)).entries)
    assert publish_run(shop.runs[0], shop.settings) == shop.published[0]
    assert len(read_ledger(connect(shop.settings)).entries) == entries


@pytest.mark.parametrize("reference", ["glioma-idh", "glioma-idh/1", "glioma-segmenter@champion"])
def test_an_untouched_chain_is_whole(shop: Shop, reference: str) -> None:
    report = audit(reference, shop.uri)
    assert report.ok, [check for check in report.checks if not check.ok]
    assert len(report.checks) > 25
    assert json.loads(json.dumps(report.to_json()))["ok"] is True


def test_a_prediction_leads_to_its_release(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "prediction.json"
    path.write_text(json.dumps({"release": shop.published[0].release, "trained_on": "patients"}))
    assert audit(str(path), shop.uri).ok
    path.write_text(json.dumps({"release": shop.published[0].release, "trained_on": "phantoms"}))
    assert not audit(str(path), shop.uri).ok
    path.write_text(json.dumps({"release": "glioma-idh-000000000000"}))
    with pytest.raises(BadInput, match="never published"):
        audit(str(path), shop.uri)


@pytest.mark.parametrize("reference", ["nothing", "glioma-idh@best", "glioma-idh/99", "a b"])
def test_unknown_references_are_refused(shop: Shop, reference: str) -> None:
    with pytest.raises(BadInput):
        resolve(connect(shop.settings), reference)


def test_the_repository_of_a_release_can_be_fetched(shop: Shop, tmp_path: Path) -> None:
    out = fetch_repository("glioma-idh/1", shop.uri, tmp_path / "served")
    assert sha256_tree(out) == sha256_tree(shop.runs[0].repository)
    fetch_repository("champion", shop.uri, out)
    assert sha256_tree(out) == sha256_tree(shop.runs[1].repository)


def test_models_load_without_pickle_and_keep_their_signature(shop: Shop) -> None:
    import mlflow.pyfunc

    connect(shop.settings)
    model = mlflow.pyfunc.load_model(f"models:/{RELEASE}@champion")
    assert [c.name for c in model.metadata.get_input_schema()][:2] == ["patient_id", "site"]
    assert model.metadata.metadata["trained_on"] == "patients"
    assert model.unwrap_python_model().config["release"] == shop.published[1].release
    assert model.input_example.to_dict("records")[0]["patient_id"] == "P001"


def test_roll_back_moves_all_models_and_is_recorded(
    anywhere: PublishSettings, tmp_path: Path
) -> None:
    first = publish_run(fabricate(tmp_path / "a"), anywhere)
    with pytest.raises(BadInput, match="no earlier champion"):
        rollback(RELEASE, anywhere.tracking_uri)
    second = publish_run(fabricate(tmp_path / "b", seed=3, skill=2.7), anywhere)
    assert (first.promotion, second.promotion) == ("champion", "champion")
    assert rollback(RELEASE, anywhere.tracking_uri, "drift") == "1"
    store = connect(anywhere)
    assert {held["champion"] for held in found_aliases(store).values()} == {"1"}
    entry = read_ledger(store).entries[-1]
    assert (entry.event, entry.details["reason"]) == ("rolled_back", "drift")
    assert audit(RELEASE, anywhere.tracking_uri).ok
    with pytest.raises(BadInput, match="no earlier champion"):
        rollback(RELEASE, anywhere.tracking_uri)
    assert promote("2", anywhere.tracking_uri, "Ada: drift was a scanner fault") == "2"
    assert rollback(RELEASE, anywhere.tracking_uri) == "1"


def test_phantoms_never_become_champion(anywhere: PublishSettings, tmp_path: Path) -> None:
    approved = anywhere.model_copy(update={"approve": "Ada: demo"})
    done = publish_run(fabricate(tmp_path / "a", trained_on="phantoms"), approved)
    assert done.promotion == ""
    store = connect(anywhere)
    assert found_aliases(store)[RELEASE] == {"candidate": "1"}
    version = resolve(store, RELEASE)
    assert version.tags[names.TRAINED_ON] == "phantoms"
    assert "trained_on_patients" in version.tags[names.REFUSED_BECAUSE]
    with pytest.raises(BadInput, match="phantoms"):
        promote("1", anywhere.tracking_uri, "Ada: I insist")
    assert audit(RELEASE, anywhere.tracking_uri).ok


def test_a_person_may_override_other_rules(anywhere: PublishSettings, tmp_path: Path) -> None:
    weak = fabricate(tmp_path / "a", skill=0.2)
    refused = publish_run(weak, anywhere)
    assert (refused.gate.passed, refused.promotion) == (False, "")
    assert promote("1", anywhere.tracking_uri, "Ada: only for research") == "1"
    report = audit(f"{RELEASE}@champion", anywhere.tracking_uri)
    assert report.ok
    let_through = next(check for check in report.checks if check.what.startswith("champion:"))
    said = {"name": "Ada", "reason": "only for research", "vouched": False}
    assert let_through.found["by"] == said
    assert "nobody vouched" in let_through.what


def test_manual_promotion_waits_as_challenger(anywhere: PublishSettings, tmp_path: Path) -> None:
    manual = anywhere.model_copy(update={"promote": "manual"})
    assert publish_run(fabricate(tmp_path / "a"), manual).promotion == Alias.CHALLENGER
    store = connect(anywhere)
    assert found_aliases(store)[RELEASE] == {"candidate": "1", "challenger": "1"}
    promote(f"{RELEASE}@challenger", anywhere.tracking_uri, "Ada: reviewed")
    assert found_aliases(store)[RELEASE] == {"candidate": "1", "champion": "1"}


def test_an_alias_moved_by_hand_is_put_back_and_recorded(tampered, tmp_path: Path) -> None:
    shop = tampered()
    store = connect(shop.settings)
    store.client.set_registered_model_alias(RELEASE, "champion", "1")
    assert not audit(RELEASE, shop.uri).ok
    again = fabricate(tmp_path / "c", seed=5, skill=0.1)
    publish_run(again, shop.settings)
    assert [e.event for e in read_ledger(store).entries][-2:] == ["repaired", "registered"]
    assert found_aliases(store)[RELEASE]["champion"] == "2"
    assert audit(RELEASE, shop.uri).ok


def test_a_repository_that_differs_from_its_manifest_is_refused(
    anywhere: PublishSettings, tmp_path: Path
) -> None:
    run = fabricate(tmp_path / "a")
    (run.repository / "segmenter" / "config.pbtxt").write_text('name: "other"\n')
    with pytest.raises(BadInput, match=r"differs from release\.json"):
        publish_run(run, anywhere)
    seal(run.repository, trained_on="patients", plan="0" * 64)
    publish_run(run, anywhere)
