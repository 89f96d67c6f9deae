"""Walks through the registry: versions, aliases, files, and what is served."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.errors import BadInput, Outage
from components.core.files import sha256_tree
from components.core.vocabulary import Origin
from components.registry import names
from components.registry.audit.links import AuditCheck, Chain, compare
from components.registry.ledger_sync import found_aliases, pruned, version_tags
from components.registry.names import Alias, RegisteredModel
from components.registry.tracking.model_versions import download_model
from components.registry.tracking.step_records import PARENT
from components.release import store as depot
from components.release.integrity.signature import DOCUMENTS


def versions(chain: Chain) -> Iterator[AuditCheck]:
    """Versions point where the ledger says, and say what it says; aliases stand where it says."""
    evidence = chain.document(names.DIGESTS_FILE) or {"tags": {}}
    plan = {key: value for key, value in evidence["tags"].items() if key == names.PLAN}
    tags = {**version_tags(chain.entry), **plan}
    for model, facts in chain.entry.details["versions"].items():
        version = chain.store.client.get_model_version(model, facts["version"])
        source = {key: facts[key] for key in ("source", "model_id")}
        expected = {"run_id": chain.run_id, **source, **tags}
        own = {"run_id": version.run_id, "source": version.source, "model_id": version.model_id}
        found = {**own, **{key: version.tags.get(key, "") for key in tags}}
        yield compare(
            f"registry: {model}/{facts['version']} is what was registered", expected, found
        )
    wanted, now = pruned(chain.ledger.aliases), found_aliases(chain.store)
    yield AuditCheck("registry: aliases are where the ledger put them", now == wanted, wanted, now)


def files(chain: Chain) -> Iterator[AuditCheck]:
    """Every file of the registered versions."""
    evidence = chain.document(names.DIGESTS_FILE) or {"models": {}}
    for model, facts in evidence["models"].items():
        version = chain.store.client.get_model_version(model, facts["version"])
        folder = download_model(chain.store, version, chain.scratch / "models" / model)
        what = f"model {model}/{facts['version']}: {len(facts['files'])} files"
        yield compare(what, facts["files"], sha256_tree(folder))


def promotion(chain: Chain) -> Iterator[AuditCheck]:
    """Who or what let the champion through."""
    mine = chain.entry.details["versions"][RegisteredModel.RELEASE]["version"]
    if chain.ledger.champion != mine:
        return
    details = chain.entry.details
    later = [
        entry.details["approval"]
        for entry in chain.ledger.entries
        if entry.event == "promoted" and entry.details["to"].get(RegisteredModel.RELEASE) == mine
    ]
    by = later[-1] if later else ("the gate" if details["passed"] else details["approval"])
    who = by if by is None or isinstance(by, str) else f"{by['name']} ({by['reason']})"
    if isinstance(by, dict) and not by.get("vouched"):
        who = f"{who}, for whom nobody vouched"
    yield AuditCheck(
        f"champion: let through by {who or 'nobody'}",
        by is not None and details["trained_on"] == Origin.PATIENTS,
        "the gate passed, or a person's name and reason; trained on patients",
        {"by": by, "trained_on": details["trained_on"]},
    )


def served(chain: Chain) -> Iterator[AuditCheck]:
    """Where champions are exported, the champion is served, with the files that were published.

    Unreachable from here is no broken link; anything else that cannot be read is.
    """
    address = chain.ledger.export_address
    champion = chain.ledger.registration(RegisteredModel.RELEASE, chain.ledger.champion)
    if not address or champion is None:
        return
    try:
        pointer = depot.current(address)
        release = pointer.release if pointer else "nothing"
        expected = champion.details["release"]
        yield AuditCheck(
            f"export {address}: serves the {Alias.CHAMPION}", release == expected, expected, release
        )
        mine = chain.entry.details["release"]
        if depot.holds(address, mine):
            found = sha256_tree(chain.folder(PARENT))
            documents = {n: d for n, d in found.items() if n.startswith(f"{DOCUMENTS}/")}
            wanted = {**chain.handed_over("repository"), **documents}
            kept = depot.digests(address, mine, documents)
            yield compare(f"export {address}: {len(wanted)} files of {mine}", wanted, kept)
    except Outage as error:
        yield AuditCheck(f"export {address}: cannot be read from here ({error.problem})", True)
    except BadInput as error:
        yield AuditCheck(f"export {address}: can be read", False, "a release", error.problem)
