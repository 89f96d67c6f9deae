"""The cohorts of a run as MLflow's datasets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from components.cohort.manifest import read_table
from components.core.files import sha256_file
from components.core.vocabulary import DEVELOPMENT
from components.registry import names
from components.registry.tracking.store import TrackingStore


def log_datasets(store: TrackingStore, run_id: str, accepted: Path) -> None:
    """Make every cohort of an accepted.csv an input of a run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    facts = dataset_facts(read_table(accepted).rows, sha256_file(accepted))
    inputs = []
    for name, about in facts.items():
        dataset = Dataset(
            name=name,
            digest=about["digest"],
            source_type="manifest",
            source=json.dumps({"artifact": names.MANIFEST_FILE, "cohort": name}),
            profile=about["profile"],
        )
        tags = [InputTag(key, about[key]) for key in ("mlflow.data.context", "sha256")]
        inputs.append(DatasetInput(dataset, tags))
    store.client.log_inputs(run_id, datasets=inputs)


def dataset_facts(rows: Iterable[Mapping[str, str]], sha256: str) -> dict[str, dict[str, str]]:
    """Cohort -> what MLflow says of it, from the rows of accepted.csv and its digest."""
    sizes = Counter(row.get("cohort") or DEVELOPMENT for row in rows)
    return {
        name: {
            "mlflow.data.context": "training" if name == DEVELOPMENT else "testing",
            "sha256": sha256,
            # MLflow keeps 36 characters of a digest; the tag has all 64.
            "digest": sha256[:36],
            "profile": json.dumps({"num_rows": size}),
        }
        for name, size in sizes.items()
    }
