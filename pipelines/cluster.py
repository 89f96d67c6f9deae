"""The pipeline on Kubeflow: compiled, submitted, scheduled."""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.cohort.errors import BadInput
from components.cohort.files import atomic
from pipelines.local import check_cohorts
from pipelines.pipeline import build
from pipelines.profile import Profile
from pipelines.version import code_digest, code_info

if TYPE_CHECKING:
    import kfp

CRON_FIELDS = 6
"""Seconds first, as KFP reads cron expressions."""

_HEALTH = "/apis/v2beta1/healthz"


def compile_profile(profile: Profile, out: Path) -> None:
    """Write the IR YAML of a profile's pipeline, atomically. Raises BadInput for a bad name."""
    from kfp import compiler

    if out.suffix not in (".yaml", ".yml"):
        raise BadInput(f"--out {out}", "not a YAML file name", "end it in .yaml")
    with atomic(out) as temporary:
        compiler.Compiler().compile(build(profile, on_cluster=True), str(temporary))


def connect(host: str) -> kfp.Client:
    """Client of a KFP API. Raises BadInput when nothing answers there."""
    # Asked first by hand: the client itself would retry for half a minute, with tracebacks.
    try:
        with urllib.request.urlopen(f"{host.rstrip('/')}{_HEALTH}", timeout=10):  # noqa: S310
            pass
    except (OSError, ValueError) as error:
        raise BadInput(
            f"--host {host}", f"no KFP API answers there ({error})", "check address and port"
        ) from None
    import kfp

    return kfp.Client(host=host)


def arguments(profile: Profile, cohorts: Mapping[str, str], tracking_uri: str) -> dict[str, str]:
    """Pipeline parameters of a cluster run; settings stay at the compiled profile's."""
    for name, manifest in cohorts.items():
        if not manifest.startswith("s3://"):
            raise BadInput(
                f"--cohort {name}={manifest}",
                "pods cannot read a local path",
                "give an s3:// address",
            )
    return {
        "cohorts": check_cohorts(cohorts, read=False),
        "code_version": code_digest(),
        "run_info": json.dumps({"code": code_info(), "profile": profile.name, "approve": None}),
        "tracking_uri": tracking_uri,
    }


def submit(
    client: kfp.Client,
    profile: Profile,
    cohorts: Mapping[str, str],
    tracking_uri: str,
    experiment: str,
) -> dict[str, Any]:
    """Start one run; returns {"run_id"}."""
    # The KFP client prints links to stdout, which is kept for our own results.
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        package = Path(folder) / "pipeline.yaml"
        compile_profile(profile, package)
        started = client.create_run_from_pipeline_package(
            str(package),
            arguments=arguments(profile, cohorts, tracking_uri),
            experiment_name=experiment,
            run_name=f"glioflow-{profile.name}",
        )
    return {"run_id": started.run_id}


def check_cron(cron: str) -> None:
    """Raises BadInput for an expression KFP would take and never fire."""
    if len(cron.split()) != CRON_FIELDS:
        raise BadInput(
            f"--cron '{cron}'",
            "not six fields",
            "seconds come first: '0 0 2 * * 1' is Monday, 2:00",
        )


def schedule(
    client: kfp.Client,
    profile: Profile,
    cohorts: Mapping[str, str],
    tracking_uri: str,
    experiment: str,
    cron: str,
) -> dict[str, Any]:
    """Make a recurring run, one at a time and never catching up; returns {"schedule_id"}."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        package = Path(folder) / "pipeline.yaml"
        compile_profile(profile, package)
        made = client.create_recurring_run(
            experiment_id=client.create_experiment(experiment).experiment_id,
            job_name=f"glioflow-{profile.name}",
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            pipeline_package_path=str(package),
            params=arguments(profile, cohorts, tracking_uri),
        )
    return {"schedule_id": made.recurring_run_id}
