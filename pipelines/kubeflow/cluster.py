"""The pipeline on Kubeflow: compiled, submitted, scheduled."""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import BadInput
from components.core.files import atomic, require_folder
from components.core.kfp import CPU_IMAGE, GPU_IMAGE, TRITON_IMAGE
from components.monitor.kfp_tasks import Task, read_tasks, shown
from pipelines.check import check_placement, check_sizes
from pipelines.kubeflow.api import Login, api_error, connect_to_kubeflow, proven
from pipelines.kubeflow.guarded import build_guarded
from pipelines.local import check_cohorts
from pipelines.pipeline import COMPONENTS, NAME
from pipelines.profile import Profile
from pipelines.version import code_digest, run_info

if TYPE_CHECKING:
    import kfp

__all__ = ["Login", "connect_to_kubeflow"]

CRON_FIELDS = 6
"""Seconds first, as KFP reads cron expressions."""


def compile_profile(
    profile: Profile, out: Path, *, only_new: bool = False, on_drift: bool = False
) -> None:
    """Write the IR YAML of a profile's pipeline, atomically.

    Args:
        only_new: let the run end at once when its manifests were seen before; see `guarded`.
        on_drift: let it end after its drift report when nothing drifted; see `guarded`.

    Raises:
        BadInput: not the name of a YAML file.
    """
    from kfp import compiler

    if out.suffix not in (".yaml", ".yml"):
        raise BadInput(f"--out {out}", "not a YAML file name", "end it in .yaml")
    with atomic(out) as temporary:
        graph = build_guarded(profile, only_new=only_new, on_drift=on_drift)
        compiler.Compiler().compile(graph, str(temporary))


def compile_components(folder: Path) -> list[Path]:
    """Write each step as a component file for other pipelines, STEP.yaml; returns the files.

    Other pipelines load it by `kfp.components.load_component_from_file`.

    Raises:
        BadInput: `folder` is a file.
    """
    from kfp import compiler

    require_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{step.name.removesuffix('-op')}.yaml" for step in COMPONENTS]
    for step, file in zip(COMPONENTS, files, strict=True):
        with atomic(file) as temporary:
            compiler.Compiler().compile(step, str(temporary))
    return files


def arguments(profile: Profile, cohorts: Mapping[str, str], tracking_uri: str) -> dict[str, str]:
    """Pipeline parameters of a cluster run; settings stay at the compiled profile's.

    Raises:
        BadInput: a cohort that is not in S3, or settings that cannot go together.
    """
    for name, manifest in cohorts.items():
        if not manifest.startswith("s3://"):
            raise BadInput(
                f"--cohort {name}={manifest}",
                "pods cannot read a local path",
                "give an s3:// address",
            )
    check_sizes(profile)
    check_placement(profile)
    images = {"cpu": CPU_IMAGE, "gpu": GPU_IMAGE, "triton": TRITON_IMAGE}
    return {
        "cohorts": check_cohorts(cohorts, read=False),
        "code_version": code_digest(),
        "run_info": run_info(profile, None, images),
        "tracking_uri": tracking_uri,
    }


def submit(
    client: kfp.Client,
    profile: Profile,
    cohorts: Mapping[str, str],
    tracking_uri: str,
    experiment: str,
) -> dict[str, Any]:
    """Start one run; returns {"run_id"}.

    Raises:
        BadInput: a cohort that is not in S3, or the API did not take the run.
    """
    host, given = _host(client), arguments(profile, cohorts, tracking_uri)
    with _sending(host) as folder:
        kept_in = _experiment(client, experiment)
        package = Path(folder) / "pipeline.yaml"
        compile_profile(profile, package)
        started = client.run_pipeline(
            kept_in,
            f"glioflow-{profile.name}",
            str(package),
            params=given,
            service_account=profile.cluster.service_account,
        ).run_id
        found = client.get_run(started).run_id if started else None
        return {"run_id": proven(host, "run", started, found)}


def _host(client: kfp.Client) -> str:
    return str(client._existing_config.host)


@contextmanager
def _sending(host: str) -> Iterator[str]:
    """A temporary folder; the KFP client prints links to stdout, which is for our own results.

    They are told on stderr when all was taken: of what was not they lead nowhere.
    """
    links = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(links), api_error(host):
        yield folder
    sys.stderr.write(links.getvalue())


def _experiment(client: kfp.Client, name: str) -> str:
    made = client.create_experiment(name).experiment_id
    return proven(_host(client), "experiment", made, made)


def check_cron(cron: str) -> None:
    """Raises BadInput for an expression KFP would take and never fire."""
    if len(cron.split()) != CRON_FIELDS:
        raise BadInput(
            f"--cron '{cron}'",
            "not six fields",
            "seconds come first: '0 0 2 * * 1' is Monday, 2:00",
        )


@dataclass(frozen=True)
class Audits:
    """Addresses of two audit logs: of the reference patients, and of the patients of late."""

    reference: str
    answers: str


def schedule(
    client: kfp.Client,
    profile: Profile,
    cohorts: Mapping[str, str],
    tracking_uri: str,
    experiment: str,
    cron: str,
    only_new: str = "",
    drift: Audits | None = None,
) -> dict[str, Any]:
    """Make a recurring run, one at a time and never catching up; returns {"schedule_id"}.

    Args:
        only_new: s3:// address of the record of manifests seen; a run whose manifests stand in it
            ends after its first step. Empty: every run goes through.
        drift: audit logs that are compared first; a run whose answers did not drift ends there.

    Raises:
        BadInput: not an S3 address, no cohort, or both `only_new` and `drift`.
    """
    parameters = arguments(profile, cohorts, tracking_uri)
    if only_new and drift:
        raise BadInput("--only-new", "given beside --drift", "make two schedules")
    if only_new:
        parameters["seen"] = _record("--only-new", only_new, cohorts)
    if drift:
        parameters["reference"] = _record("--drift-reference", drift.reference, cohorts)
        parameters["answers"] = _record("--drift", drift.answers, cohorts)
    host = _host(client)
    with _sending(host) as folder:
        kept_in = _experiment(client, experiment)
        package = Path(folder) / "pipeline.yaml"
        compile_profile(profile, package, only_new=bool(only_new), on_drift=drift is not None)
        made = client.create_recurring_run(
            experiment_id=kept_in,
            job_name=f"glioflow-{profile.name}",
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            pipeline_package_path=str(package),
            params=parameters,
            service_account=profile.cluster.service_account,
        ).recurring_run_id
        found = client.get_recurring_run(made).recurring_run_id if made else None
        return {"schedule_id": proven(host, "schedule", made, found)}


def _record(option: str, address: str, cohorts: Mapping[str, str]) -> str:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not (address.startswith("s3://") and bucket and key):
        raise BadInput(f"{option} {address}", "not an S3 address", "write s3://BUCKET/KEY")
    if not cohorts:
        raise BadInput(option, "no cohort is given", "add --cohort development=s3://...")
    return address


@dataclass(frozen=True)
class RunState:
    """State of one run and of its tasks, in the order in which they were made."""

    run_id: str
    name: str
    state: str
    tasks: tuple[Task, ...]
    message: str = ""

    @property
    def failed(self) -> bool:
        """Whether the run ended without its result."""
        return self.state in ("FAILED", "CANCELED")


def status(client: kfp.Client, run_id: str = "") -> RunState:
    """State of a run; of glioflow's newest one when no id is given.

    Raises:
        BadInput: no such run, or none yet.
    """
    from kfp_server_api import ApiException

    host = _host(client)
    with api_error(host):
        wanted = run_id or _newest(client)
        try:
            run = client.get_run(wanted)
        except ApiException as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            raise BadInput(
                f"run {wanted}", "no such run", "leave it out to see the newest one"
            ) from None
    proven(host, f"run {wanted}", wanted, run.run_id)
    details = run.run_details.to_dict() if run.run_details else {}
    return RunState(
        run_id=run.run_id,
        name=run.display_name or "",
        state=run.state or "PENDING",
        tasks=shown(read_tasks(details.get("task_details") or ())),
        message=(run.error and run.error.message) or "",
    )


def _newest(client: kfp.Client) -> str:
    ours = {"operation": "IS_SUBSTRING", "key": "display_name", "stringValue": NAME}
    found = client.list_runs(
        page_size=1, sort_by="created_at desc", filter=json.dumps({"predicates": [ours]})
    )
    if not found.runs:
        raise BadInput("status", "no run of glioflow yet", "start one with `glioflow submit`")
    return found.runs[0].run_id
