"""Proof of a model's chain: every digest recomputed, every figure recalculated, every link walked.

What is trusted: the hashes in the ledger, which hang together. Everything else, tags, aliases,
metrics, artifacts, versions, is compared with what they say.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.cohort.errors import BadInput, Outage
from components.cohort.files import read_json, sha256_file, sha256_tree
from components.cohort.manifest import IMAGE_COLUMNS, ManifestTable, read_table
from components.publish import depot, names
from components.publish.delivery import exported_to
from components.publish.evidence import (
    headline,
    image_digest,
    image_on_disk,
    read_predictions,
    read_rows,
)
from components.publish.ledger import Entry, Ledger, read_ledger
from components.publish.lineage import children
from components.publish.names import Alias, RegisteredModel
from components.publish.projection import found_aliases, pruned
from components.publish.registry import download_model, resolve
from components.publish.signature import (
    RELEASE_FILE,
    SIGNATURE_FILE,
    fingerprint,
    signer,
    trusted_key,
)
from components.publish.steps import PARENT, STEPS, flat_numbers
from components.publish.store import Store, connect_to

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

TOLERANCE = 1e-6
"""Largest difference between a stored figure and the same figure computed again."""


@dataclass(frozen=True)
class Check:
    """One link of the chain."""

    what: str
    ok: bool
    expected: Any = None
    found: Any = None


@dataclass(frozen=True)
class AuditReport:
    """All checks, in the order in which the chain is walked."""

    reference: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every link holds."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """{"ok", "reference", "checks": [{"what", "ok", "expected", "found"}]}."""
        return {
            "ok": self.ok,
            "reference": self.reference,
            "checks": [asdict(check) for check in self.checks],
        }


@dataclass(frozen=True)
class _Chain:
    """One registered version, the ledger entry that recorded it, and its files in `scratch`."""

    store: Store
    ledger: Ledger
    entry: Entry
    version: ModelVersion
    scratch: Path
    trusted: Ed25519PublicKey | None

    @property
    def run_id(self) -> str:
        return self.entry.details["run_id"]

    def artifact(self, name: str) -> Path | None:
        """A file of the parent run; None where it is missing."""
        return _download(self.store, self.run_id, name, self.scratch / "parent")

    def document(self, name: str) -> Any:
        """A JSON document of the parent run; None where its digest is not the ledger's."""
        path = self.artifact(name)
        intact = path is not None and sha256_file(path) == self.entry.details["sha256"][name]
        return read_json(path) if path is not None and intact else None


def audit(
    reference: str, tracking_uri: str, *, repository: Path | None = None, key: str = ""
) -> AuditReport:
    """Walk the chain behind MODEL[@ALIAS|/VERSION], or behind a served prediction.json.

    Args:
        reference: a model as `registry.resolve` takes it, or the path of a prediction.json.
        tracking_uri: the MLflow store.
        repository: an exported Triton repository to check as well; by default the one in the
            run's own folder, when that is on this machine.
        key: public key (PEM or its path) that must have signed the release; by default that of
            GLIOFLOW_TRUSTED_KEY; with neither, unsigned releases pass.

    Raises:
        BadInput: the reference names no published model, or `key` no key.
    """
    trusted = trusted_key(key)
    store = connect_to(tracking_uri)
    ledger = read_ledger(store)
    whole = "ledger: every entry follows the one before"
    count = f"{len(ledger.entries)} entries"
    checks = [Check(whole, not ledger.broken, "an unbroken chain", ledger.broken or count)]
    version, found = _version_of(store, reference)
    checks += found
    entry = ledger.registration(version.name, str(version.version))
    checks.append(
        Check(
            f"{version.name}/{version.version}: its registration is in the ledger",
            entry is not None and version.tags.get(names.LEDGER_ENTRY) == entry.hash,
            version.tags.get(names.LEDGER_ENTRY, "a ledger entry"),
            entry.hash if entry else "none",
        )
    )
    if entry is not None:
        with tempfile.TemporaryDirectory() as scratch:
            chain = _Chain(store, ledger, entry, version, Path(scratch), trusted)
            for walk in _WALKS:
                checks += walk(chain)
            checks += _local_files(chain, repository)
    return AuditReport(reference, tuple(checks))


def _version_of(store: Store, reference: str) -> tuple[ModelVersion, list[Check]]:
    if not reference.endswith(".json"):
        return resolve(store, reference), []
    path = Path(reference)
    if not path.is_file():
        raise BadInput(path, "no such prediction", "give the prediction.json of `glioflow predict`")
    prediction = read_json(path)
    release = prediction.get("release")
    found = store.client.search_model_versions(
        f"name = '{RegisteredModel.RELEASE.value}' AND tags.`{names.RELEASE}` = '{release}'"
    )
    if not found:
        raise BadInput(path, f"release '{release}' was never published here", "check tracking_uri")
    version = min(found, key=lambda v: int(v.version))
    said, true = prediction.get("trained_on"), version.tags.get(names.TRAINED_ON)
    return version, [
        Check(f"prediction: says what {release} was trained on", said == true, true, said)
    ]


def _registry(chain: _Chain) -> Iterator[Check]:
    """Versions point where the ledger says; aliases stand where it says."""
    details = chain.entry.details
    for model, facts in details["versions"].items():
        version = chain.store.client.get_model_version(model, facts["version"])
        tags = {
            names.PUBLICATION: details["publication"],
            names.RELEASE: details["release"],
            names.TRAINED_ON: details["trained_on"],
        }
        source = {key: facts[key] for key in ("source", "model_id")}
        expected = {"run_id": chain.run_id, **source, **tags}
        own = {"run_id": version.run_id, "source": version.source, "model_id": version.model_id}
        found = {**own, **{key: version.tags.get(key) for key in tags}}
        yield Check(
            f"registry: {model}/{facts['version']} is what was registered",
            found == expected,
            _differing(expected, found),
            _differing(found, expected),
        )
    wanted, found_now = pruned(chain.ledger.aliases), found_aliases(chain.store)
    yield Check(
        "registry: aliases are where the ledger put them", found_now == wanted, wanted, found_now
    )


def _promotion(chain: _Chain) -> Iterator[Check]:
    """Who or what let the champion through."""
    champion = chain.ledger.aliases.get(RegisteredModel.RELEASE, {}).get(Alias.CHAMPION)
    mine = chain.entry.details["versions"][RegisteredModel.RELEASE]["version"]
    if champion != mine:
        return
    details = chain.entry.details
    later = [
        entry.details["approval"]
        for entry in chain.ledger.entries
        if entry.event == "promoted" and entry.details["to"].get(RegisteredModel.RELEASE) == mine
    ]
    by = "the gate" if details["passed"] else (details["approval"] or next(iter(later), None))
    yield Check(
        "champion: let through by the gate or by a named person",
        by is not None and details["trained_on"] == "patients",
        "the gate passed, or a person's name and reason; trained on patients",
        {"by": by, "trained_on": details["trained_on"]},
    )


def _documents(chain: _Chain) -> Iterator[Check]:
    """The two documents whose digests the ledger holds."""
    for name, expected in chain.entry.details["sha256"].items():
        path = chain.artifact(name)
        found = sha256_file(path) if path else "missing"
        yield Check(f"run: {name} is the one the ledger names", found == expected, expected, found)


def _run_files(chain: _Chain) -> Iterator[Check]:
    """Every artifact of the parent run and its children, by digest; every metric, by value."""
    evidence = chain.document(names.DIGESTS_FILE)
    if evidence is None:
        return
    parent = chain.store.client.get_run(chain.run_id)
    runs = children(chain.store, parent.info.experiment_id, chain.run_id)
    runs[PARENT] = parent
    for step in sorted(evidence["runs"], key=STEPS.index):
        if step not in runs:
            yield Check(f"{step}: has its run", False, "a child run", "none")
            continue
        expected = evidence["runs"][step]
        folder = chain.scratch / "runs" / step
        _download(chain.store, runs[step].info.run_id, "", folder)
        own = chain.entry.details["sha256"] if step == PARENT else {}
        found = {name: sha for name, sha in sha256_tree(folder).items() if name not in own}
        yield _compare(f"{step}: {len(expected)} artifacts", expected, found)
        yield from _run_values(step, runs[step], evidence)
    yield _history(chain, parent, evidence["metrics"][PARENT])
    tags = {key: parent.data.tags.get(key, "") for key in evidence["tags"]}
    what = f"{PARENT}: {len(tags)} tags as they were set"
    yield _compare(what, evidence["tags"], tags)


def _history(chain: _Chain, parent: Run, wanted: dict[str, float]) -> Check:
    """Charts read a metric's history, tables its latest value: both must say the same."""
    client, off = chain.store.client, {}
    for key, value in wanted.items():
        points = [point.value for point in client.get_metric_history(parent.info.run_id, key)]
        if len(points) != 1 or not _close(points[0], value):
            off[key] = points
    expected = {key: [wanted[key]] for key in off}
    return Check(f"{PARENT}: history of metrics as they were logged", not off, expected, off)


def _run_values(step: str, run: Run, evidence: dict[str, Any]) -> Iterator[Check]:
    metrics, wanted = run.data.metrics, evidence["metrics"][step]
    off = {k for k, v in wanted.items() if k not in metrics or not _close(v, metrics[k])}
    yield Check(
        f"{step}: {len(wanted)} metrics as they were logged",
        not off,
        {key: wanted[key] for key in sorted(off)},
        {key: metrics.get(key) for key in sorted(off)},
    )
    params = evidence["params"][step]
    yield _compare(f"{step}: {len(params)} parameters as they were logged", params, run.data.params)


def _model_files(chain: _Chain) -> Iterator[Check]:
    """Every file of the registered versions."""
    evidence = chain.document(names.DIGESTS_FILE) or {"models": {}}
    for model, facts in evidence["models"].items():
        version = chain.store.client.get_model_version(model, facts["version"])
        folder = download_model(chain.store, version, chain.scratch / "models" / model)
        what = f"model {model}/{facts['version']}: {len(facts['files'])} files"
        yield _compare(what, facts["files"], sha256_tree(folder))


def _figures(chain: _Chain) -> Iterator[Check]:
    """Headline figures, computed again from the stored predictions of each patient."""
    evaluate = chain.scratch / "runs" / "evaluate" / "evaluation.json"
    predictions = chain.artifact("predictions.csv")
    try:
        stored = flat_numbers(read_json(evaluate).get("sets", {}))
        sets = headline(read_predictions(predictions or Path("predictions.csv")))
    except (BadInput, OSError, ValueError) as error:
        yield Check("figures: predictions and evaluation can be read", False, "both", str(error))
        return
    again = flat_numbers(sets)
    for name, block in sets.items():
        off = {}
        figures = flat_numbers(block, name)
        for key, value in figures.items():
            said = stored.get(f"{key}.value", stored.get(key))
            if said is None or not _close(said, value):
                off[key] = said
        yield Check(
            f"figures: {len(figures)} of {name} follow from the stored predictions",
            not off,
            {key: again[key] for key in off},
            off,
        )


def _verdict(chain: _Chain) -> Iterator[Check]:
    """The verdict is the one its own rules give, and the one the ledger acted on."""
    gate = chain.document(names.GATE_FILE)
    if gate is None:
        return
    passed = all(rule["passed"] for rule in gate["rules"])
    expected = chain.entry.details["passed"]
    found = {"rules": passed, "verdict": gate["passed"]}
    yield Check("gate: verdict", passed == gate["passed"] == expected, expected, found)


def _signature(chain: _Chain) -> Iterator[Check]:
    """release.json is that of the files registered, and signed by whom the ledger names."""
    said = str(chain.entry.details.get("signed_by", ""))
    demanded = fingerprint(chain.trusted) if chain.trusted else said
    if not said and not demanded:
        yield Check("release: not signed, and no key was demanded", True)
        return
    document, signature = chain.artifact(RELEASE_FILE), chain.artifact(SIGNATURE_FILE)
    try:
        if document is None:
            raise BadInput(RELEASE_FILE, "missing", "restore it")
        found = signer(document.read_bytes(), signature.read_bytes() if signature else None)
    except BadInput as error:
        found = error.problem
    inputs = chain.scratch / "runs" / PARENT / names.INPUTS_FILE
    listed = read_json(inputs).get(f"repository/{RELEASE_FILE}") if inputs.is_file() else None
    same = document is not None and sha256_file(document) == listed
    yield Check("release: release.json is the one that was exported", same, listed, document)
    yield Check(
        f"release: its manifest is signed by key {demanded[:16]}",
        found == demanded == said,
        demanded,
        {"signature": found or "none", "ledger": said or "none"},
    )


def _served(chain: _Chain) -> Iterator[Check]:
    """Where champions are exported, the champion is served, with the files that were published.

    Unreachable from here is no broken link; anything else that cannot be read is.
    """
    address = exported_to(chain.ledger)
    version = chain.ledger.aliases.get(RegisteredModel.RELEASE, {}).get(Alias.CHAMPION, "")
    champion = chain.ledger.registration(RegisteredModel.RELEASE, version)
    if not address or champion is None:
        return
    try:
        pointer = depot.current(address)
        served = pointer.release if pointer else "nothing"
        expected = champion.details["release"]
        yield Check(f"export {address}: serves the champion", served == expected, expected, served)
        release = chain.entry.details["release"]
        inputs = chain.scratch / "runs" / PARENT / names.INPUTS_FILE
        if depot.holds(address, release) and inputs.is_file():
            wanted = _repository_files(inputs)
            kept = depot.digests(address, release)
            yield _compare(f"export {address}: {len(wanted)} files of {release}", wanted, kept)
    except Outage as error:
        yield Check(f"export {address}: cannot be read from here ({error.problem})", True)
    except BadInput as error:
        yield Check(f"export {address}: can be read", False, "a release", error.problem)


def _repository_files(inputs: Path) -> dict[str, str]:
    return {
        name.removeprefix("repository/"): digest
        for name, digest in read_json(inputs).items()
        if name.startswith("repository/")
    }


def _local_files(chain: _Chain, repository: Path | None) -> Iterator[Check]:
    """Images and the exported repository, where this machine has them."""
    folder = _run_folder(chain)
    if repository is None and folder and (Path(folder) / "repository").is_dir():
        repository = Path(folder) / "repository"
    inputs = chain.scratch / "runs" / PARENT / names.INPUTS_FILE
    if repository is not None and inputs.is_file():
        expected = _repository_files(inputs)
        found = sha256_tree(repository.resolve())
        yield _compare(f"repository {repository}: {len(expected)} files", expected, found)
    accepted = Path(folder) / "validated" / "accepted.csv" if folder else None
    manifest = chain.scratch / "runs" / PARENT / names.MANIFEST_FILE
    if accepted is not None and accepted.is_file() and manifest.is_file():
        yield _images(accepted, manifest)


def _images(accepted: Path, manifest: Path) -> Check:
    table = read_table(accepted)
    rows = {row["patient_id"]: index for index, row in enumerate(table.rows)}
    changed, compared = [], 0
    for row in read_rows(manifest):
        index = rows.get(row["patient_id"])
        for column in IMAGE_COLUMNS:
            cell = row.get(column, "")
            if index is None or not cell.startswith("sha256:"):
                continue
            path = _reachable(table, index, column)
            if path is not None:
                compared += 1
                if cell != f"sha256:{image_digest(path)}":
                    changed.append(f"{row['patient_id']} {column}")
    return Check(
        f"data: {compared} images present", not changed, "as trained on", changed or "same"
    )


def _reachable(table: ManifestTable, index: int, column: str) -> Path | None:
    try:
        return image_on_disk(table, index, column)
    except Outage:
        return None


def _run_folder(chain: _Chain) -> str:
    """The run's output folder on this machine: as tagged, or the one around its own store."""
    tagged = chain.store.client.get_run(chain.run_id).data.tags.get(names.RUN_FOLDER, "")
    if tagged or chain.store.folder is None:
        return tagged
    folder = chain.store.folder.parent
    manifest = folder / "repository" / "release.json"
    release = read_json(manifest)["release"] if manifest.is_file() else None
    return str(folder) if release == chain.entry.details["release"] else ""


def _compare(what: str, expected: dict[str, str], found: dict[str, str]) -> Check:
    return Check(what, expected == found, _differing(expected, found), _differing(found, expected))


def _differing(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Entries of `one` that `other` has not, or has otherwise."""
    return {key: value for key, value in one.items() if key not in other or other[key] != value}


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=0.0, abs_tol=TOLERANCE)


def _download(store: Store, run_id: str, name: str, folder: Path) -> Path | None:
    from mlflow.exceptions import MlflowException

    folder.mkdir(parents=True, exist_ok=True)
    try:
        return Path(store.client.download_artifacts(run_id, name, str(folder)))
    except (MlflowException, OSError):
        return None


_WALKS: tuple[Callable[[_Chain], Iterator[Check]], ...] = (
    _registry,
    _promotion,
    _documents,
    _run_files,
    _model_files,
    _figures,
    _verdict,
    _signature,
    _served,
)
"""In this order: later walks read what earlier ones downloaded."""
