"""OpenLineage events of a published run, a START and a COMPLETE for each step.

They are sent to wherever OpenLineage's own variables say (OPENLINEAGE_URL, OPENLINEAGE_CONFIG,
OPENLINEAGE__TRANSPORT__...); without any of these nothing is. https://openlineage.io/docs/client/python
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from components.registry.attestation.statements import (
    BUILDER,
    MATERIALS,
    PRODUCTS,
    read_manifests,
)
from components.registry.run_artifacts import RunArtifacts

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

log = logging.getLogger(__name__)

PREFIX = "OPENLINEAGE_"
DATASETS = "glioflow"
"""Namespace of the datasets; jobs are in OPENLINEAGE_NAMESPACE, or in this one."""

PIPELINE = "pipeline"
"""Name of the job that is the steps' parent."""

PLAN = "segmenter/plan.json"
"""Of the segmenter's folder the file that preprocessing writes: a dataset of its own."""


def send_lineage(artifacts: RunArtifacts) -> int:
    """Send the events where OpenLineage is configured; returns how many were sent.

    A place that does not take them is told as a warning: the run is published all the same.
    """
    configured = any(name.startswith(PREFIX) for name in os.environ)
    if not configured or os.environ.get("OPENLINEAGE_DISABLED", "").lower() == "true":
        return 0
    from openlineage.client import OpenLineageClient

    events = list(lineage_events(artifacts, datetime.now(UTC)))
    try:
        client = OpenLineageClient()
        for event in events:
            client.emit(event)
        client.close()
    except Exception as error:
        log.warning("OpenLineage: %d events of this run were not taken (%s)", len(events), error)
        return 0
    return len(events)


def lineage_events(artifacts: RunArtifacts, when: datetime) -> Iterator[RunEvent]:
    """Two events for each step whose files are there, in the order of the pipeline.

    Datasets keep their names from run to run; their version is the sha256 over their files.

    Args:
        when: time of the events; when each step ran is not known any more.
    """
    from openlineage.client import event_v2 as ol

    digests = artifacts.digests()
    for step, products in PRODUCTS.items():
        made = _names(digests, products)
        if not made:
            continue
        read = _names(digests, MATERIALS[step])
        inputs = [ol.InputDataset(DATASETS, n, facets=_version(_files(digests, n))) for n in read]
        if not MATERIALS[step]:
            manifests = read_manifests(artifacts).items()
            inputs = [ol.InputDataset(DATASETS, n, facets=_version({n: d})) for n, d in manifests]
        outputs = [ol.OutputDataset(DATASETS, n, facets=_version(_files(digests, n))) for n in made]
        for state in (ol.RunState.START, ol.RunState.COMPLETE):
            yield ol.RunEvent(
                eventTime=when.isoformat(),
                producer=BUILDER,
                run=ol.Run(_run_id(artifacts, step), _run_facets(artifacts)),
                job=ol.Job(_namespace(), f"{PIPELINE}.{step}", _job_facets()),
                eventType=state,
                inputs=inputs,
                outputs=outputs,
            )


def _names(digests: dict[str, str], beginnings: Iterable[str]) -> list[str]:
    """Datasets that these beginnings of file names belong to, of those that are there."""
    names = [b if b == PLAN else b.split("/")[0] for b in beginnings]
    return [name for name in dict.fromkeys(names) if _files(digests, name)]


def _files(digests: dict[str, str], dataset: str) -> dict[str, str]:
    return {n: d for n, d in digests.items() if n == dataset or n.startswith(f"{dataset}/")}


def _version(files: dict[str, str]) -> dict[str, Any]:
    from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet

    content = next(iter(files.values()))
    if len(files) > 1:
        content = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    return {"version": DatasetVersionDatasetFacet(content, producer=BUILDER)}


def _run_id(artifacts: RunArtifacts, job: str) -> str:
    """The same for the same step of the same run, however often it is published."""
    seed = f"{artifacts.info.kfp_run_id}/{artifacts.release().release}/{job}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{BUILDER}/{seed}"))


def _run_facets(artifacts: RunArtifacts) -> dict[str, Any]:
    from openlineage.client.generated import parent_run, tags_run

    told = {
        "release": artifacts.release().release,
        "profile": artifacts.info.profile,
        "kfp_run_id": artifacts.info.kfp_run_id,
        "git_commit": artifacts.info.code.commit,
        "sources_sha256": artifacts.code_version,
    }
    fields = [tags_run.TagsRunFacetFields(k, v, DATASETS) for k, v in told.items() if v]
    parent = parent_run.Run(_run_id(artifacts, PIPELINE))
    job = parent_run.Job(_namespace(), PIPELINE)
    return {
        "parent": parent_run.ParentRunFacet(parent, job, producer=BUILDER),
        "tags": tags_run.TagsRunFacet(fields, producer=BUILDER),
    }


def _job_facets() -> dict[str, Any]:
    from openlineage.client.generated.job_type_job import JobTypeJobFacet

    return {"jobType": JobTypeJobFacet("BATCH", "KUBEFLOW_PIPELINES", "TASK", producer=BUILDER)}


def _namespace() -> str:
    return os.environ.get("OPENLINEAGE_NAMESPACE", DATASETS)
