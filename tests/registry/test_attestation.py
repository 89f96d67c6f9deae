"""Signature, attestations and bill of materials of a published run, as a stranger reads them."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance

from components.core.files import sha256_file
from components.registry.attestation.statements import (
    MATERIALS,
    PRODUCTS,
    PROVENANCE_TYPE,
    TRAINING,
    TRAINING_TYPE,
)
from components.registry.audit.audit import audit
from components.registry.names import RegisteredModel
from components.registry.publish import publish_run
from components.registry.run_artifacts import RunArtifacts
from components.registry.settings import PublishSettings
from components.registry.tracking.store import connect_to
from components.release import store as depot
from components.release.integrity.keys import trusted_key
from tests.registry.fabricated_run import fabricate
from tests.release.keys import write_chain, write_pair

RELEASE = RegisteredModel.RELEASE.value


def broken(uri: str, **more: Any) -> list[str]:
    return [check.what for check in audit(RELEASE, uri, **more).checks if not check.ok]


def artifacts_of_run(uri: str) -> Path:
    """The parent run's artifacts in a store with one run."""
    store = Path(uri.removeprefix("sqlite:///")).parent
    (info,) = store.glob("artifacts/*/artifacts/run_info.json")
    return info.parent


def statement(folder: Path, step: str) -> dict[str, Any]:
    envelope = json.loads((folder / "attestations" / f"{step}.intoto.json").read_text())
    content: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
    return content


@dataclass(frozen=True)
class Unsigned:
    """A run that was published without a key. Only to be read."""

    run: RunArtifacts
    release: str
    uri: str

    @property
    def folder(self) -> Path:
        return artifacts_of_run(self.uri)


EVIDENCE = """
import json, sys
from pathlib import Path
from components.core.files import sha256_file
from components.core.tables import read_csv
from components.registry.attestation.documents import release_evidence
from components.registry.gate.evidence import evaluated_sets
from components.release.integrity.keys import signing_key
from tests.registry.publish_once import artifacts_of
run = artifacts_of(Path(sys.argv[1]))
table = run.validated / "accepted.csv"
made = release_evidence(
    run, run.digests(), (table, read_csv(table)), evaluated_sets(run.evaluation), {},
    signing_key(), Path(sys.argv[2]),
)
print(json.dumps({name: sha256_file(file) for name, file in made.items()}, sort_keys=True))
"""

TERMS = {"snuh": "Data use agreement 12/2024"}


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory, cold_store: Path) -> Unsigned:
    root = tmp_path_factory.mktemp("unsigned")
    shutil.copytree(cold_store, root / "shop")
    run, uri = fabricate(root / "run"), f"sqlite:///{root}/shop/mlflow/mlflow.db"
    done = publish_run(run, PublishSettings(tracking_uri=uri, attempts=1, licences=TERMS))
    return Unsigned(run, done.release, uri)


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Makes a key pair: signs from now on; returns the path of the public key."""

    def make(name: str) -> str:
        monkeypatch.setenv("GLIOFLOW_SIGNING_KEY", write_pair(tmp_path, name).read_text())
        return str(tmp_path / f"{name}.pub")

    return make


def test_a_signed_release_is_proved_by_its_key(
    empty: PublishSettings, tmp_path: Path, key: Callable[[str], str]
) -> None:
    address, uri = str(tmp_path / "served"), empty.tracking_uri
    right, run = key("right"), fabricate(tmp_path / "a")
    publish_run(run, empty.model_copy(update={"export": address}))
    assert broken(uri) == broken(uri, key=right) == []
    said = [check.what for check in audit(RELEASE, uri).checks if "signed by key" in check.what]
    assert len(said) == 1 + len(PRODUCTS) + 1
    wrong = key("wrong")
    assert [what for what in broken(uri, key=wrong) if "files and documents" in what]
    fetched = depot.fetch(address, tmp_path / "here", trusted=trusted_key(right))
    documents = {file.name for file in (fetched / "documents").iterdir()}
    assert documents == {"bom.cdx.json", "evaluation.json", "model_card.md", "report.html"}

    folder = artifacts_of_run(uri)
    for name, change in {
        "release.sigstore.json": (b'"payload": "ew', b'"payload": "eW'),
        "documents/model_card.md": (b"Research", b"Clinical"),
        "attestations/segment.intoto.json": (b'"payload": "ew', b'"payload": "eX'),
    }.items():
        content = (folder / name).read_bytes()
        assert change[0] in content
        (folder / name).write_bytes(content.replace(*change, 1))
        found = broken(uri)
        assert any("pipeline:" in what for what in found), found
        link = "attestations" if name.startswith("attestations") else "files and documents"
        assert any(link in what for what in found), found
        (folder / name).write_bytes(content)
    assert broken(uri) == []


def test_publishing_again_in_another_process_writes_the_same_bytes(
    unsigned: Unsigned, tmp_path: Path, key: Callable[[str], str]
) -> None:
    """Two processes may log one run at once; the ledger holds the digests of either."""
    key("mine")
    found = [
        subprocess.run(
            [sys.executable, "-c", EVIDENCE, str(unsigned.run.repository.parent), str(place)],
            check=True, capture_output=True, text=True, timeout=120,
        ).stdout
        for place in (tmp_path / "one", tmp_path / "two")
    ]  # fmt: skip
    assert found[0] == found[1]
    digests = json.loads(found[0])
    assert {"release.sigstore.json", "documents/bom.cdx.json"} < set(digests)


def test_a_statement_signed_by_another_is_found(
    empty: PublishSettings, tmp_path: Path, key: Callable[[str], str]
) -> None:
    from components.registry.attestation.envelope import seal
    from components.release.integrity.keys import signing_key

    key("right")
    publish_run(fabricate(tmp_path / "a"), empty)
    key("wrong")
    folder = artifacts_of_run(empty.tracking_uri)
    place = folder / "attestations" / "classify.intoto.json"
    place.write_bytes(seal(statement(folder, "classify"), signing_key()))
    (why,) = [
        check.found
        for check in audit(RELEASE, empty.tracking_uri).checks
        if check.what == "attestations: can be read"
    ]
    assert "not signed by the release's key" in why


def test_a_release_is_proved_by_a_certificate(
    empty: PublishSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem, leaf, root = write_chain(tmp_path, "hospital")
    *_, stranger = write_chain(tmp_path, "stranger")
    monkeypatch.setenv("GLIOFLOW_SIGNING_KEY", str(pem))
    monkeypatch.setenv("GLIOFLOW_SIGNING_CERTIFICATE", str(leaf))
    publish_run(fabricate(tmp_path / "a"), empty)
    report = audit(RELEASE, empty.tracking_uri)
    assert report.ok
    assert any("no root certificate was given" in check.what for check in report.checks)
    assert broken(empty.tracking_uri, key=str(root)) == []
    (named,) = broken(empty.tracking_uri, key=str(stranger))
    assert "certificate goes back to the one given" in named


def test_an_unsigned_run_is_published_and_says_so(
    unsigned: Unsigned, key: Callable[[str], str]
) -> None:
    report = audit(RELEASE, unsigned.uri)
    assert report.ok
    said = [check.what for check in report.checks if "not signed" in check.what]
    assert len(said) == 1 + len(PRODUCTS) + 1
    assert not (unsigned.folder / "release.sigstore.json").exists()
    (named,) = broken(unsigned.uri, key=key("any"))
    assert "signed by key" in named


def test_statements_lead_from_served_files_to_the_manifest(unsigned: Unsigned) -> None:
    run, folder = unsigned.run, unsigned.folder
    found = {step: statement(folder, step) for step in (*PRODUCTS, TRAINING)}
    makers = {
        item["digest"]["sha256"]: step for step in PRODUCTS for item in found[step]["subject"]
    }
    asked, reached = {sha256_file(run.repository / "segmenter" / "1" / "model.onnx")}, set()
    while asked:
        step = makers[asked.pop()]
        if step in reached:
            continue
        reached.add(step)
        definition = found[step]["predicate"]["buildDefinition"]
        read = {
            item["name"]: item["digest"]["sha256"]
            for item in definition["resolvedDependencies"]
            if item["name"] != "sources" and "sha256" in item["digest"]
        }
        if step == "validate":
            report = json.loads((run.validated / "validation.json").read_text())
            assert read["manifest"] == report["manifest_sha256"]
        else:
            asked |= set(read.values())
    assert reached >= {"export", "segment", "features", "classify", "validate"}
    assert set(MATERIALS) == set(PRODUCTS)


def test_predicates_are_slsa_provenance_and_ours(unsigned: Unsigned) -> None:
    run, folder = unsigned.run, unsigned.folder
    for step in PRODUCTS:
        made = statement(folder, step)
        assert made["predicateType"] == PROVENANCE_TYPE
        parsed = json_format.ParseDict(made["predicate"], Provenance())
        assert parsed.run_details.metadata.invocation_id == "run-1"
    training = statement(folder, TRAINING)
    assert training["predicateType"] == TRAINING_TYPE
    about = training["predicate"]
    assert about["data"] == [
        {
            "name": "development",
            "role": "development",
            "patients": 110,
            "split": {"internal": 60, "training": 40, "tuning": 10},
        },
        {"name": "snuh", "role": "external test", "patients": 60, "split": {"snuh": 60}},
    ]
    evaluation = json.loads((run.evaluation / "evaluation.json").read_text())["sets"]
    said = about["metrics"]["snuh"]["hybrid"]["auroc"]["value"]
    assert said == evaluation["snuh"]["hybrid"]["auroc"]["value"]
    patients = (run.validated / "accepted.csv").read_text()
    assert "SN-001" in patients
    assert "SN-001" not in json.dumps(training), "no patient is named"


def test_the_bill_of_materials_is_cyclonedx(unsigned: Unsigned) -> None:
    run, text = unsigned.run, (unsigned.folder / "documents" / "bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    page = connect_to(unsigned.uri).client.get_run(unsigned.folder.parent.name)
    assert "bill of materials" in page.data.tags["mlflow.note.content"]
    bill = json.loads(text)
    model = bill["metadata"]["component"]
    assert (model["type"], model["version"]) == ("machine-learning-model", unsigned.release)
    card, parts = model["modelCard"], {part["bom-ref"]: part for part in bill["components"]}
    datasets = [parts[item["ref"]] for item in card["modelParameters"]["datasets"]]
    accepted = sha256_file(run.validated / "accepted.csv")
    assert {d["name"]: d["licenses"][0]["license"]["name"] for d in datasets} == {
        "development": "not stated",
        **TERMS,
    }
    assert all(d["hashes"] == [{"alg": "SHA-256", "content": accepted}] for d in datasets)
    metric = next(
        m
        for m in card["quantitativeAnalysis"]["performanceMetrics"]
        if (m["type"], m["slice"]) == ("auroc", "snuh, hybrid")
    )
    evaluation = json.loads((run.evaluation / "evaluation.json").read_text())["sets"]
    assert float(metric["value"]) == evaluation["snuh"]["hybrid"]["auroc"]["value"]
    assert "lowerBound" in metric["confidenceInterval"]
    assert "not a medical device" in json.dumps(card["considerations"])
    assert parts["pkg:torch"]["purl"].startswith("pkg:pypi/torch@2.13.0")
    networks = {p["name"] for p in parts.values() if p["type"] == "machine-learning-model"}
    assert networks == {"segmenter/1/model.onnx", "classifier/1/model.onnx"}
