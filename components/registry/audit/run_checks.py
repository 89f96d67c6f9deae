"""Walks through the run: what was logged, by which code, on which data, and how good it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from components.core.files import read_json, sha256_file, sha256_tree
from components.core.tables import read_csv
from components.core.vocabulary import DEVELOPMENT
from components.registry import names
from components.registry.audit.links import AuditCheck, Chain, close, compare
from components.registry.gate.evidence import evaluated_sets, headline, read_run_predictions
from components.registry.gate.reapply import reapply_gate
from components.registry.gate.verdict import GateVerdict
from components.registry.tracking.datasets import dataset_facts
from components.registry.tracking.lineage import children
from components.registry.tracking.step_records import PARENT, STEPS, flat_numbers
from components.registry.tracking.store import download_artifacts

if TYPE_CHECKING:
    from mlflow.entities import Run


def documents(chain: Chain) -> Iterator[AuditCheck]:
    """The documents whose digests the ledger holds."""
    for name, expected in chain.entry.details["sha256"].items():
        path = chain.artifact(name)
        found = sha256_file(path) if path else "missing"
        yield AuditCheck(
            f"run: {name} is the one the ledger names", found == expected, expected, found
        )


def records(chain: Chain) -> Iterator[AuditCheck]:
    """Every artifact of the parent run and its children, by digest; every metric, by value."""
    yield from documents(chain)
    parent = chain.store.client.get_run(chain.run_id)
    runs = children(chain.store, parent.info.experiment_id, chain.run_id)
    runs[PARENT] = parent
    for step, run in runs.items():
        download_artifacts(chain.store, run.info.run_id, "", chain.folder(step))
    evidence = chain.document(names.DIGESTS_FILE)
    if evidence is None:
        return
    for step in sorted(evidence["runs"], key=STEPS.index):
        if step not in runs:
            yield AuditCheck(f"{step}: has its run", False, "a child run", "none")
            continue
        expected = evidence["runs"][step]
        own = chain.entry.details["sha256"] if step == PARENT else {}
        tree = sha256_tree(chain.folder(step))
        tried = {n for n, sha in tree.items() if n.startswith(f"{names.CANDIDATES}/{sha}/")}
        found = {n: sha for n, sha in tree.items() if n not in own and n not in tried}
        yield compare(f"{step}: {len(expected)} artifacts", expected, found)
        yield from _values(step, runs[step], evidence)
        yield _tags(step, runs[step], chain, evidence["tags"])
    yield _history(chain, parent, evidence["metrics"][PARENT])


def _values(step: str, run: Run, evidence: dict[str, Any]) -> Iterator[AuditCheck]:
    metrics, wanted = run.data.metrics, evidence["metrics"][step]
    off = {k for k, v in wanted.items() if k not in metrics or not close(v, metrics[k])}
    yield AuditCheck(
        f"{step}: {len(wanted)} metrics as they were logged",
        not off,
        {key: wanted[key] for key in sorted(off)},
        {key: metrics.get(key) for key in sorted(off)},
    )
    params = evidence["params"][step]
    yield compare(f"{step}: {len(params)} parameters as they were logged", params, run.data.params)


def _tags(step: str, run: Run, chain: Chain, logged: dict[str, str]) -> AuditCheck:
    wanted = {**logged, names.STEP: step}
    if step == PARENT:
        gate = _gate(chain)
        wanted[names.STATE] = names.COMPLETE
        wanted |= {names.GATE: gate.summary} if gate else {}
    found = {key: run.data.tags.get(key, "") for key in wanted}
    what = f"{step}: {len(wanted)} tags as they were set"
    return compare(what, {**wanted, "status": "FINISHED"}, {**found, "status": run.info.status})


def _history(chain: Chain, parent: Run, wanted: dict[str, float]) -> AuditCheck:
    """Charts read a metric's history, tables its latest value: both must say the same."""
    client, off = chain.store.client, {}
    for key, value in wanted.items():
        points = [point.value for point in client.get_metric_history(parent.info.run_id, key)]
        if len(points) != 1 or not close(points[0], value):
            off[key] = points
    expected = {key: [wanted[key]] for key in off}
    return AuditCheck(f"{PARENT}: history of metrics as they were logged", not off, expected, off)


def code(chain: Chain) -> Iterator[AuditCheck]:
    """Commit, sources, packages and images: the run's tags say what its files say."""
    said = read_json(chain.folder(PARENT) / "environment.json")
    tags = chain.store.client.get_run(chain.run_id).data.tags
    commit, dirty = said["code"]["commit"], said["code"]["dirty"]
    expected = {
        "mlflow.source.git.commit": commit,
        "code_version": said["code_version"],
        "lock_sha256": said["lock_sha256"],
    }
    state = {True: "changed since", False: "clean", None: "as built into the image"}[dirty]
    yield compare(
        f"code: commit {commit[:12] or 'unknown'} ({state}), sources {said['code_version'][:12]}, "
        f"packages pinned by {said['lock_sha256'][:12]}",
        expected,
        {key: tags.get(key, "") for key in expected},
    )
    images = sorted(set(said["images"].values()))
    hardware = said["hardware"]
    where = f"{hardware['cores']} cores of {hardware['processor']}, GPU {hardware['gpu']}"
    yield AuditCheck(
        f"code: published on {where}; {', '.join(images) or 'no container images'}", True
    )


def data(chain: Chain) -> Iterator[AuditCheck]:
    """The datasets that MLflow shows are those of the manifest, which was validated."""
    rows = read_csv(chain.folder(PARENT) / names.MANIFEST_FILE)
    accepted = chain.handed_over("validated")["accepted.csv"]
    wanted = dataset_facts(rows, accepted)
    shown = chain.store.client.get_run(chain.run_id).inputs
    found = {
        item.dataset.name: {
            **{tag.key: tag.value for tag in item.tags},
            "digest": item.dataset.digest,
            "profile": item.dataset.profile,
        }
        for item in (shown.dataset_inputs if shown else ())
    }
    cohorts = Counter(row.get("cohort") or DEVELOPMENT for row in rows)
    sizes = ", ".join(f"{name} {size}" for name, size in cohorts.items())
    yield compare(f"data: datasets as shown are those of the manifest ({sizes})", wanted, found)
    report = read_json(chain.folder("validate") / "validation.json")
    said = report.get("accepted_sha256", accepted)
    whom = f"{report['accepted']} of {report['patients']} patients"
    yield AuditCheck(
        f"data: learnt from what validation accepted ({whom})", said == accepted, said, accepted
    )


def figures(chain: Chain) -> Iterator[AuditCheck]:
    """Headline figures, computed again from the stored predictions of each patient."""
    stored = flat_numbers(evaluated_sets(chain.folder("evaluate")))
    sets = headline(read_run_predictions(chain.folder(PARENT) / "predictions.csv"))
    for name, block in sets.items():
        again = flat_numbers(block, name)
        said = {key: stored.get(f"{key}.value", stored.get(key)) for key in again}
        off = {k: v for k, v in said.items() if v is None or not close(v, again[k])}
        yield AuditCheck(
            f"figures: {len(again)} of {name} follow from the stored predictions",
            not off,
            {key: again[key] for key in off},
            off,
        )


def _gate(chain: Chain) -> GateVerdict | None:
    """The verdict; None where its digest is not the ledger's."""
    content = chain.document(names.GATE_FILE)
    return None if content is None else GateVerdict.model_validate(content)


def verdict(chain: Chain) -> Iterator[AuditCheck]:
    """The verdict is the one the ledger acted on, and each rule gives it again."""
    gate = _gate(chain)
    if gate is None:
        return
    acted_on = chain.entry.details["passed"]
    found = {"rules": all(rule.passed for rule in gate.rules), "verdict": gate.passed}
    holds = set(found.values()) == {acted_on}
    yield AuditCheck(f"gate: verdict ({gate.summary})", holds, acted_on, found)
    for rule, again in zip(gate.rules, reapply_gate(chain, gate), strict=True):
        word = "passed" if rule.passed else "REFUSED"
        numbers, anew = flat_numbers(rule.found), flat_numbers(again.found)
        off = {k: v for k, v in numbers.items() if k not in anew or not close(v, anew[k])}
        yield AuditCheck(
            f"gate: {rule.rule} {word}: {rule.reason}",
            rule.passed == again.passed and not off,
            {"passed": again.passed, **{key: anew.get(key) for key in off}},
            {"passed": rule.passed, **off},
        )
