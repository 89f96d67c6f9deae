"""The images of all cohorts measured in shards, so that no process reads all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from components.cohort.image_checks.facts import ImageFacts, cohort_facts
from components.cohort.manifest import Patient
from components.cohort.shards import shard_of
from components.core.files import read_json, write_text
from components.core.progress import Progress, silent
from components.validate.candidates import read_candidates
from components.validate.settings import ValidateSettings

FACTS_FILE = "facts.json"


def measure_shard(
    cohorts: Mapping[str, str | Path],
    shard: str,
    settings: ValidateSettings,
    out: Path,
    progress: Progress = silent,
) -> None:
    """Measure the images of every n-th patient of all cohorts; writes `out`/facts.json.

    Args:
        cohorts: name -> manifest.
        shard: "i/n", see `shard_of`.

    Raises:
        BadInput: a manifest as a whole cannot be read, or one patient stands in two cohorts.
        Outage: an object store is away.
    """
    patients = shard_of(read_candidates(cohorts).patients, shard)
    facts = cohort_facts(patients, settings.sequences, workers=settings.workers, progress=progress)
    out.mkdir(parents=True, exist_ok=True)
    # A measure of a strange image may be infinite, and must come back as it was.
    write_text(out / FACTS_FILE, json.dumps([asdict(fact) for fact in facts]))


def read_facts(shards: Iterable[Path], patients: Iterable[Patient]) -> list[ImageFacts]:
    """The facts of all shards in the order of the patients.

    Args:
        shards: folders that `measure_shard` wrote.
        patients: of all cohorts.

    Raises:
        KeyError: a patient was not measured: a shard is missing.
    """
    by_patient: dict[str, list[ImageFacts]] = {}
    for shard in shards:
        for row in read_json(shard / FACTS_FILE):
            fact = ImageFacts(**row)
            by_patient.setdefault(fact.patient_id, []).append(fact)
    return [fact for patient in patients for fact in by_patient[patient.patient_id]]


def named_manifests(folder: Path) -> dict[str, str | Path]:
    """Cohort -> manifest, from the cohorts.json of a folder to which its paths are relative."""
    named = read_json(folder / "cohorts.json")
    return {k: v if v.startswith("s3://") else folder / v for k, v in named.items()}
