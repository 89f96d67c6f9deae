"""Walks through what strangers can check, too: the release's signature, and the attestations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.core.errors import BadInput
from components.core.files import link_tree, read_json, sha256_file
from components.registry import names
from components.registry.attestation.documents import ATTESTATIONS
from components.registry.attestation.envelope import unseal
from components.registry.attestation.statements import MANIFEST, TRAINING, check_statement
from components.registry.audit.links import AuditCheck, Chain, compare
from components.registry.names import RegisteredModel
from components.registry.tracking.step_records import PARENT
from components.release.integrity.keys import TrustedKey, read_trusted
from components.release.integrity.old_signature import OLD_SIGNATURE_FILE, old_signer
from components.release.integrity.signature import (
    DOCUMENTS,
    SIGNATURE_FILE,
    SIGNER_FILE,
    verify_signature,
)
from components.release.manifest import RELEASE_FILE


def signature(chain: Chain) -> Iterator[AuditCheck]:
    """release.json is that of the files registered; the release is signed by whom the ledger names.

    Without a key given, the one that the run keeps is taken, if it is the one the ledger names.
    """
    said = str(chain.entry.details.get("signed_by", ""))
    if not said and chain.trusted is None:
        yield AuditCheck("release: not signed, and no key was demanded", True)
        return
    run = chain.folder(PARENT)
    listed = chain.handed_over("repository").get(RELEASE_FILE)
    digest = sha256_file(run / RELEASE_FILE) if (run / RELEASE_FILE).is_file() else "missing"
    yield AuditCheck(
        "release: release.json is the one that was exported", digest == listed, listed, digest
    )
    if chain.trusted is None and _by_certificate(run):
        what = f"release: signed by key {said[:16]}, and no root certificate was given to check it"
        yield AuditCheck(what, True)
        return
    try:
        found = _old(run) if (run / OLD_SIGNATURE_FILE).is_file() else _signed(chain, run)
    except BadInput as error:
        found = error.problem
    certificate = chain.trusted is not None and chain.trusted.kind == "certificate"
    demanded = chain.trusted.fingerprint if chain.trusted and not certificate else said
    how = ", whose certificate goes back to the one given" if certificate else ""
    yield AuditCheck(
        f"release: its files and documents are signed by key {demanded[:16]}{how}",
        found == demanded == said != "",
        demanded,
        {"signature": found, "ledger": said or "none"},
    )


def _by_certificate(run: Path) -> bool:
    kept = run / SIGNER_FILE
    return kept.is_file() and read_trusted(kept.read_bytes(), SIGNER_FILE).kind == "certificate"


def _old(run: Path) -> str:
    return old_signer((run / RELEASE_FILE).read_bytes(), (run / OLD_SIGNATURE_FILE).read_bytes())


def _signed(chain: Chain, run: Path) -> str:
    """Fingerprint of who signed the registered repository and the run's documents as one folder."""
    bundle = run / SIGNATURE_FILE
    folder = chain.scratch / "signed" / str(chain.entry.details["release"])
    (model,) = (chain.scratch / "models" / RegisteredModel.RELEASE).rglob("files/repository")
    link_tree(model, folder)
    if (run / DOCUMENTS).is_dir():
        link_tree(run / DOCUMENTS, folder / DOCUMENTS)
    trusted = chain.trusted or _kept_key(chain, run)
    return verify_signature(folder, bundle.read_bytes() if bundle.is_file() else None, trusted)


def _kept_key(chain: Chain, run: Path) -> TrustedKey:
    """The key beside the signature, if it is the one the ledger names. Raises BadInput."""
    if not (run / SIGNER_FILE).is_file():
        raise BadInput(SIGNER_FILE, "missing", "restore it, or give the key")
    kept = read_trusted((run / SIGNER_FILE).read_bytes(), SIGNER_FILE)
    if kept.fingerprint != chain.entry.details["signed_by"]:
        raise BadInput(SIGNER_FILE, f"key {kept.fingerprint[:16]}, not the ledger's", "restore it")
    return kept


def attestations(chain: Chain) -> Iterator[AuditCheck]:
    """Each statement is signed as the release is, and names the files by what they are.

    Every material is a product of another step, or one of the manifests.
    """
    folder = chain.folder(PARENT) / ATTESTATIONS
    if not folder.is_dir():
        return
    run = chain.folder(PARENT)
    signer = _kept_key(chain, run) if chain.entry.details.get("signed_by") else None
    wanted: dict[str, str] = {
        **read_json(run / names.INPUTS_FILE),
        names.MANIFEST_FILE: sha256_file(run / names.MANIFEST_FILE),
    }
    made: dict[str, str] = {}
    read: dict[str, str] = {}
    for file in sorted(folder.glob("*.intoto.json")):
        step = file.name.removesuffix(".intoto.json")
        statement = unseal(file.name, file.read_bytes(), signer)
        check_statement(statement)
        subjects = _digests(statement["subject"])
        signed = f"signed by key {signer.fingerprint[:16]}" if signer else "not signed"
        expected = {name: wanted.get(name, "no such file") for name in subjects}
        yield compare(f"{step}: attests to {len(subjects)} files, {signed}", expected, subjects)
        if step != TRAINING:
            made |= subjects
            definition = statement["predicate"]["buildDefinition"]
            read |= _digests(definition["resolvedDependencies"])
    files = {n: sha for n, sha in read.items() if not n.startswith(MANIFEST)}
    yield compare(
        f"every file that a step read ({len(files)}) is one that a step wrote",
        files,
        {name: made.get(name, "made by no step") for name in files},
    )


def _digests(resources: list[dict[str, Any]]) -> dict[str, str]:
    """Name -> sha256 of the resources that are files."""
    return {
        item["name"]: item["digest"]["sha256"]
        for item in resources
        if "sha256" in item.get("digest", {}) and item["name"] != "sources"
    }
