"""The registry as a projection of the ledger: tags, aliases and pages written after the fact.

Nobody is locked out meanwhile: whoever moved an alias reads the ledger again, until both agree.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from pathlib import Path

from components.core.errors import BadInput
from components.core.files import read_json
from components.core.tables import read_csv
from components.registry import names
from components.registry.gate.evidence import evaluated_sets
from components.registry.gate.verdict import GateVerdict
from components.registry.ledger import (
    RULE,
    Aliases,
    Entry,
    Ledger,
    LedgerMovedError,
    append,
    read_ledger,
    tries,
)
from components.registry.ledger_store import applied, claims, note_applied, store_claimed
from components.registry.names import Alias, RegisteredModel
from components.registry.run_artifacts import RunInfo
from components.registry.tracking.environment import actor
from components.registry.tracking.lineage import children
from components.registry.tracking.run_page import RunFacts, describe_run
from components.registry.tracking.store import TrackingStore, connect_to, download_artifacts

log = logging.getLogger(__name__)


def settle(store: TrackingStore, ledger: Ledger) -> Ledger:
    """Bring the registry to what the ledger says, before something is decided on it.

    A process killed after its ledger entry leaves tags and aliases behind: they are completed.
    An alias that somebody else moved is put back, and that is recorded.

    Raises:
        BadInput: the ledger is broken, or two of its entries have one number.
        LedgerMovedError: another writer was first.
    """
    _refuse_broken(ledger)
    if ledger.unresolved:
        raise BadInput("the ledger", ledger.disputed, "run `glioflow repair`")
    if not ledger.entries:
        return ledger
    last = ledger.entries[-1]
    found = found_aliases(store)
    if last.event == "registered" and not is_finished(store, last):
        project(store, ledger, last)
    elif found != pruned(ledger.aliases):
        # Up to an older entry: whoever wrote the newest was killed before, or is still at it.
        if applied(store) in ("", ledger.head):
            log.warning("aliases were moved outside glioflow: %s", found)
            details = {"found": found}
            ledger = append(store, ledger, "repaired", actor(), ledger.aliases, details)
        apply_aliases(store, ledger.aliases)
    return ledger


def repair(tracking_uri: str) -> list[str]:
    """Complete what killed writers left behind, and settle two entries of one number by RULE.

    A `repaired` entry names those that do not count; nothing is deleted, nor repaired twice.

    Returns:
        What was done, a sentence each; none where there was nothing to do.

    Raises BadInput: an entry is missing or was changed, which no rule can mend.
    """
    store, done = connect_to(tracking_uri), []
    waiting = len(claims(store))
    store_claimed(store)
    if waiting:
        done.append(f"{waiting} entries of killed writers were completed")
    for _ in tries():
        with contextlib.suppress(LedgerMovedError):
            ledger = read_ledger(store)
            _refuse_broken(ledger)
            if ledger.unresolved:
                aside = list(ledger.unresolved)
                details = {"duplicates": aside, "rule": RULE}
                ledger = append(store, ledger, "repaired", actor(), ledger.aliases, details)
                done.append(f"second entries of a number are set aside: {', '.join(aside)}")
            aliases = ledger.entries and found_aliases(store) != pruned(ledger.aliases)
            settle(store, ledger)
            return [*done, "aliases were brought to what the ledger says"] if aliases else done
    raise AssertionError("tries() raises in the end")


def _refuse_broken(ledger: Ledger) -> None:
    if ledger.broken:
        remedy = "run `glioflow audit`, and restore its files"
        raise BadInput("the ledger", ledger.broken, remedy)


def is_finished(store: TrackingStore, entry: Entry) -> bool:
    """Whether tags, aliases and page of a registration were written; the run's state is last."""
    run = store.client.get_run(entry.details["run_id"])
    return run.data.tags.get(names.STATE) == names.COMPLETE


def project(store: TrackingStore, ledger: Ledger, entry: Entry) -> None:
    """Write what a registration says into documents, tags, aliases and the run's page, in order."""
    place_documents(store, entry)
    finish_versions(store, entry)
    apply_aliases(store, ledger.aliases)
    finish_run(store, entry)


def place_documents(store: TrackingStore, entry: Entry) -> None:
    """Put the documents that a registration names where readers look; those of old are there."""
    run_id = entry.details["run_id"]
    for name, sha256 in entry.details["sha256"].items():
        with tempfile.TemporaryDirectory() as scratch:
            kept = download_artifacts(
                store, run_id, f"{names.CANDIDATES}/{sha256}/{name}", Path(scratch)
            )
            if kept is not None:
                store.client.log_artifact(run_id, str(kept))


def finish_versions(store: TrackingStore, entry: Entry) -> None:
    """Mark the versions of a registration complete, and name the entry that recorded them."""
    refused = entry.details["refused_because"]
    release, trained_on = entry.details["release"], entry.details["trained_on"]
    text = f"{release}, trained on {trained_on}. Gate: {refused or 'passed'}."
    for model, facts in entry.details["versions"].items():
        version = store.client.update_model_version(model, facts["version"], text)
        for key, value in version_tags(entry).items():
            if version.tags.get(key, "") != value:
                store.client.set_model_version_tag(model, facts["version"], key, value)


def version_tags(entry: Entry) -> dict[str, str]:
    """Tags of a version whose registration is complete, "" where it has none; the state is last."""
    details = entry.details
    return {
        names.PUBLICATION: details["publication"],
        names.RELEASE: details["release"],
        names.TRAINED_ON: details["trained_on"],
        names.LEDGER_ENTRY: entry.hash,
        names.GATE: "passed" if details["passed"] else "refused",
        names.REFUSED_BECAUSE: details["refused_because"],
        names.STATE: names.COMPLETE,
    }


def finish_run(store: TrackingStore, entry: Entry) -> None:
    """Complete the page of a registration's parent run, the verdict's tags, its end."""
    run_id = entry.details["run_id"]
    with tempfile.TemporaryDirectory() as scratch:
        facts = _run_facts(store, entry, scratch)
    tags = {
        "mlflow.note.content": describe_run(facts),
        names.GATE: facts.gate.summary,
        names.STATE: names.COMPLETE,
    }
    # The end comes first, the state last: who sees `complete` must see all of it.
    store.client.set_terminated(run_id)
    for key, value in tags.items():
        store.client.set_tag(run_id, key, value)


def _run_facts(store: TrackingStore, entry: Entry, scratch: str) -> RunFacts:
    run_id = entry.details["run_id"]
    run = store.client.get_run(run_id)
    evaluate = children(store, run.info.experiment_id, run_id)["evaluate"].info.run_id

    def fetched(name: str, run: str = run_id) -> Path:
        return Path(store.client.download_artifacts(run, name, scratch))

    return RunFacts(
        entry=entry,
        info=RunInfo.model_validate(read_json(fetched("run_info.json"))),
        hardware=read_json(fetched("environment.json"))["hardware"],
        manifest=read_csv(fetched(names.MANIFEST_FILE)),
        inputs=read_json(fetched(names.INPUTS_FILE)),
        sets=evaluated_sets(fetched("evaluation.json", evaluate).parent),
        gate=GateVerdict.model_validate(read_json(fetched(names.GATE_FILE))),
    )


def apply_aliases(store: TrackingStore, wanted: Aliases) -> None:
    """Bring the aliases to what the ledger says; `wanted` is what it said when last read.

    The ledger is read again afterwards, until it says the same: of two writers that move aliases at
    once, whoever ends last has seen both entries.
    """
    while True:
        _move_aliases(store, wanted)
        newest = read_ledger(store)
        if newest.aliases == wanted:
            note_applied(store, newest.head)
            return
        wanted = newest.aliases


def _move_aliases(store: TrackingStore, wanted: Aliases) -> None:
    """Set every alias of ours, and delete those not wanted."""
    found = found_aliases(store)
    for model in RegisteredModel:
        for alias in Alias:
            version = wanted.get(model.value, {}).get(alias.value)
            now = found.get(model.value, {}).get(alias.value)
            if version is None and now is not None:
                store.client.delete_registered_model_alias(model.value, alias.value)
            elif version is not None and version != now:
                store.client.set_registered_model_alias(model.value, alias.value, version)


def found_aliases(store: TrackingStore) -> Aliases:
    """Aliases of our models as the registry has them."""
    found = store.client.search_registered_models()
    ours = {m.name: dict(m.aliases) for m in found if m.name in set(RegisteredModel)}
    return pruned({m: {a: str(v) for a, v in aliases.items()} for m, aliases in ours.items()})


def pruned(aliases: Aliases) -> Aliases:
    """Only our own aliases, without models that have none."""
    known = set(Alias)
    kept = {m: {a: v for a, v in held.items() if a in known} for m, held in aliases.items()}
    return {model: held for model, held in sorted(kept.items()) if held}
