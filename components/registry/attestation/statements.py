"""One in-toto statement (v1) a step: its files, and what they were made of, by sha256.

Steps are described by SLSA provenance (v1). A last statement says of the released files what they
were trained on, how it was split, and how good they are; its predicate is in docs/audit.md.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from components.core.files import read_json
from components.core.vocabulary import DEVELOPMENT
from components.registry.run_artifacts import RunArtifacts

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"
TRAINING_TYPE = "urn:glioflow:training:v1"
BUILD_TYPE = "urn:glioflow:step:v1"
BUILDER = "urn:glioflow:publish"

TRAINING = "training"
"""Name of the statement about the whole release."""

MANIFEST = "manifest"
"""Material of `validate`: the manifests as they were given, by the sha256 of each."""

PRODUCTS = {
    "validate": ("validated/",),
    "preprocess": ("segmenter/plan.json",),
    "segment": ("segmenter/",),
    "features": ("samples/",),
    "classify": ("classifier/", "predictions.csv"),
    "evaluate": ("evaluation/",),
    "export": ("repository/",),
}
"""Step -> beginnings of the names of the files that it wrote, in the order of the pipeline."""

MATERIALS = {
    "validate": (),
    "preprocess": ("validated/accepted.csv",),
    "segment": ("validated/accepted.csv", "segmenter/plan.json"),
    "features": ("validated/accepted.csv", "segmenter/"),
    "classify": ("samples/",),
    "evaluate": ("validated/accepted.csv", "samples/", "classifier/", "predictions.csv"),
    "export": ("segmenter/", "classifier/"),
}
"""Step -> beginnings of the names of the files that it read, of those that earlier steps wrote."""


def step_statements(
    artifacts: RunArtifacts, digests: dict[str, str], public_manifest: str
) -> dict[str, dict[str, Any]]:
    """Step -> its statement; steps whose files are not there are left out.

    Args:
        digests: name -> sha256 of every file that the run handed over.
        public_manifest: sha256 of the manifest.csv that leaves the site; `validate` vouches for it.
    """
    statements = {}
    for step, products in PRODUCTS.items():
        made = _matching(digests, products)
        if step == "validate":
            made["manifest.csv"] = public_manifest
        if made:
            read = (
                _matching(digests, MATERIALS[step])
                if MATERIALS[step]
                else read_manifests(artifacts)
            )
            predicate = _provenance(artifacts, step, read)
            statements[step] = _statement(made, PROVENANCE_TYPE, predicate)
    return statements


def training_statement(
    artifacts: RunArtifacts,
    digests: dict[str, str],
    rows: list[dict[str, str]],
    metrics: dict[str, Any],
) -> dict[str, Any]:
    """What the released files were trained on, how it was split, and how good they are.

    Args:
        rows: of the public manifest.
        metrics: test set -> headline figures.
    """
    release = artifacts.release()
    predicate = {
        "release": release.release,
        "trainedOn": release.trained_on.value,
        "preprocessingPlan": {"sha256": release.plan},
        "seeds": artifacts.info.seeds,
        "manifests": _resources(read_manifests(artifacts)),
        "data": [
            {
                "name": cohort,
                "role": "development" if cohort == DEVELOPMENT else "external test",
                "patients": sum(split.values()),
                "split": dict(sorted(split.items())),
            }
            for cohort, split in cohort_splits(rows).items()
        ],
        "accepted": {"sha256": digests["validated/accepted.csv"]},
        "evaluation": {"sha256": digests["evaluation/evaluation.json"]},
        "metrics": metrics,
    }
    return _statement(_matching(digests, ("repository/",)), TRAINING_TYPE, predicate)


def cohort_splits(rows: list[dict[str, str]]) -> dict[str, Counter[str]]:
    """Cohort -> subset (training, tuning, internal, ...) -> number of patients."""
    splits: dict[str, Counter[str]] = {}
    for row in rows:
        cohort, subset = row.get("cohort") or DEVELOPMENT, row.get("subset") or "unassigned"
        splits.setdefault(cohort, Counter())[subset] += 1
    return splits


def check_statement(statement: dict[str, Any]) -> None:
    """Raises ValueError where it is no in-toto statement v1 by the standard's own bindings."""
    from google.protobuf import json_format
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    try:
        message = json_format.ParseDict(statement, Message())
    except json_format.ParseError as error:
        raise ValueError(str(error)) from None
    Statement.copy_from_pb(message).validate()


def _statement(subjects: dict[str, str], kind: str, predicate: dict[str, Any]) -> dict[str, Any]:
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": _resources(subjects),
        "predicateType": kind,
        "predicate": predicate,
    }
    check_statement(statement)
    return statement


def _provenance(artifacts: RunArtifacts, step: str, read: dict[str, str]) -> dict[str, Any]:
    info = artifacts.info
    code: list[dict[str, Any]] = []
    if artifacts.code_version:
        code.append({"name": "sources", "digest": {"sha256": artifacts.code_version}})
    if info.code.commit:
        code.append({"name": "commit", "digest": {"gitCommit": info.code.commit}})
    if image := info.images.get(step):
        code.append({"name": "image", "uri": image})
    return {
        "buildDefinition": {
            "buildType": f"{BUILD_TYPE}:{step}",
            "externalParameters": {
                "profile": info.profile,
                "settings": info.settings.get(step, {}),
            },
            "internalParameters": {"seeds": info.seeds},
            "resolvedDependencies": _resources(read) + code,
        },
        "runDetails": {
            "builder": {"id": BUILDER},
            "metadata": {"invocationId": info.kfp_run_id},
        },
    }


def read_manifests(artifacts: RunArtifacts) -> dict[str, str]:
    """sha256 of the manifests that validation read, of which there may be several."""
    said = read_json(artifacts.validated / "validation.json")["manifest_sha256"]
    if isinstance(said, dict):
        return {f"{MANIFEST}/{name}": str(sha256) for name, sha256 in said.items()}
    return {MANIFEST: str(said)}


def _matching(digests: dict[str, str], beginnings: tuple[str, ...]) -> dict[str, str]:
    return {name: sha256 for name, sha256 in digests.items() if name.startswith(beginnings)}


def _resources(digests: dict[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in digests.items()]
