"""What the first task on Kubeflow checks, and the digests by which the others are cached."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from math import ceil

from components.core.errors import BadInput
from components.core.vocabulary import DEVELOPMENT
from pipelines.check import check_networks, check_placement, check_profile
from pipelines.estimates import GIB, memory_gib
from pipelines.local import check_cohorts, with_images
from pipelines.profile import Profile

log = logging.getLogger(__name__)


def check_on_cluster(profile: Profile, cohorts: str) -> str:
    """Check a profile and its cohorts, and its untrained networks in Triton, as for a local run.

    Args:
        cohorts: the pipeline's parameter: JSON list of {name, manifest, ...}.

    Returns:
        The same list with the sha256 of each manifest and a digest of all images.

    Raises:
        BadInput: the first thing that would stop the run.
        Outage: the object store is away.
    """
    check_placement(profile)
    _check_checkpoints(os.environ.get("GLIOFLOW_CHECKPOINTS", ""))
    named = {entry["name"]: entry["manifest"] for entry in json.loads(cohorts)}
    entries = check_cohorts(named)
    counts, warnings = check_profile(profile, named)
    log.info("patients: %s", counts)
    for warning in warnings:
        log.warning("%s", warning)
    _check_memory(profile, counts[DEVELOPMENT])
    check_networks(profile)
    return with_images(entries, named)


def _check_checkpoints(folder: str) -> None:
    """Refuse a volume on which training could keep nothing. KFP cannot set a pod's fsGroup."""
    if not folder:
        return
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(
            f"cluster.checkpoints, mounted at {folder}",
            f"cannot be written by user {os.getuid()} ({error.strerror})",
            "give that user the root of the volume, or take a claim whose volume anyone may write",
        ) from None


def _check_memory(profile: Profile, development: int) -> None:
    """Refuse pods that would be ended for want of memory; those with a GPU are not estimated."""
    from kubernetes.utils.quantity import parse_quantity

    cluster = profile.cluster
    workers = {
        step: settings.workers or ceil(parse_quantity(cluster.of(step).cpu))
        for step, settings in (("validate", profile.validation), ("preprocess", profile.preprocess))
    }
    takes = memory_gib(profile, development, workers["validate"], workers["preprocess"])
    for step, needed in takes.items():
        pod = cluster.of(step)
        if not pod.gpus and needed > float(parse_quantity(pod.memory)) / GIB:
            raise BadInput(
                f"cluster.steps.{step}, memory = {pod.memory}",
                f"the step takes about {needed:.0f} GiB",
                "raise it, or take fewer workers or a smaller batch",
            )
