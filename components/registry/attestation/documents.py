"""What is made for a release when it is published: its documents, signature and attestations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.core.files import link_or_copy, link_tree, sha256_file, write_text
from components.registry.attestation.bom import bill_of_materials
from components.registry.attestation.envelope import seal
from components.registry.attestation.statements import (
    TRAINING,
    step_statements,
    training_statement,
)
from components.registry.run_artifacts import RunArtifacts
from components.release.integrity.keys import SigningKey
from components.release.integrity.signature import (
    DOCUMENTS,
    SIGNATURE_FILE,
    SIGNER_FILE,
    sign_release,
)

BOM_FILE = "bom.cdx.json"
EVALUATION_FILES = ("evaluation.json", "report.html", "model_card.md")
ATTESTATIONS = "attestations"


def release_evidence(
    artifacts: RunArtifacts,
    digests: dict[str, str],
    manifest: tuple[Path, list[dict[str, str]]],
    metrics: dict[str, Any],
    licences: dict[str, str],
    key: SigningKey | None,
    scratch: Path,
) -> dict[str, Path]:
    """Artifact path -> file: documents/, attestations/, and with a key the signature.

    Args:
        digests: name -> sha256 of every file that the run handed over.
        manifest: the public manifest, and its rows.
        metrics: test set -> headline figures, as in evaluation.json.
        licences: cohort -> its licence or terms of use.
    """
    path, rows = manifest
    # Named by its id: the folder's name is what the signature is about.
    folder = scratch / "signed" / artifacts.release().release
    link_tree(artifacts.repository, folder)
    for name in EVALUATION_FILES:
        if (artifacts.evaluation / name).is_file():
            link_or_copy(artifacts.evaluation / name, folder / DOCUMENTS / name)
    bom = bill_of_materials(artifacts, digests, rows, metrics, licences)
    write_text(folder / DOCUMENTS / BOM_FILE, bom)
    files = {f"{DOCUMENTS}/{file.name}": file for file in sorted((folder / DOCUMENTS).iterdir())}
    statements = step_statements(artifacts, digests, sha256_file(path))
    statements[TRAINING] = training_statement(artifacts, digests, rows, metrics)
    written = {
        f"{ATTESTATIONS}/{name}.intoto.json": seal(statement, key)
        for name, statement in statements.items()
    }
    if key is not None:
        written[SIGNATURE_FILE] = sign_release(folder, key)
        written[SIGNER_FILE] = key.trust.pem
    for name, content in written.items():
        files[name] = scratch / "evidence" / name
        files[name].parent.mkdir(parents=True, exist_ok=True)
        files[name].write_bytes(content)
    return files
