"""Commands that run the pipeline, on this machine or on Kubeflow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.core.errors import BadInput, ExitCode
from pipelines.cli.terminal import Commands, Json, console, print_json, step_bars

if TYPE_CHECKING:
    from rich.table import Table

    from components.monitor.kfp_tasks import Task
    from pipelines.estimates import Estimate
    from pipelines.summary import RunSummary

ProfileOption = Annotated[
    str,
    typer.Option("--profile", help="demo, lgg, paper, study, or the path of a YAML file."),
]
CohortOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cohort",
        metavar="NAME=MANIFEST",
        help="A cohort; 'development' is the training data, any other name an external test set.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
HostOption = Annotated[str, typer.Option("--host", help="Address of the KFP API.")]
TokenOption = Annotated[
    str, typer.Option("--token", envvar="GLIOFLOW_KFP_TOKEN", help="Bearer token for the KFP API.")
]
TokenFileOption = Annotated[
    Path | None, typer.Option("--token-file", help="File that holds the bearer token.")
]
CookieOption = Annotated[
    str,
    typer.Option(
        "--cookie", envvar="GLIOFLOW_KFP_COOKIE", help="NAME=VALUE of a logged-in browser session."
    ),
]
CaOption = Annotated[
    Path | None, typer.Option("--ca", help="PEM file of the authority of the host's certificate.")
]
NamespaceOption = Annotated[
    str, typer.Option("--namespace", help="Kubeflow profile, where the API serves several.")
]


def run(
    profile: ProfileOption,
    out: OutOption,
    cohort: CohortOption = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow tracking URI; default: SQLite below --out.")
    ] = None,
    approve: Annotated[
        str | None,
        typer.Option(
            help='Human override of the gate, "name: reason"; void where approvers are listed.'
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Run the whole pipeline on this machine, from cohorts to a served release."""
    from pipelines import local
    from pipelines.profile import load_profile
    from pipelines.summary import losses, table

    chosen = load_profile(profile)
    cohorts = named(cohort or [])
    with step_bars() as watch:
        summary = local.run(
            chosen, cohorts, out, tracking_uri=tracking_uri, approve=approve, watch=watch
        )
    if as_json:
        print_json(summary.content())
    else:
        console.print(table(summary))
        for line in losses(summary, out):
            console.print(line, style="yellow", soft_wrap=True, highlight=False)
        _print_next_steps(summary, out, tracking_uri)
    if not summary.unsent:
        return ExitCode.DONE
    console.print(f"glioflow: {summary.unsent}", soft_wrap=True, highlight=False, markup=False)
    return ExitCode.BAD_INPUT


def check(
    profile: ProfileOption,
    cohort: CohortOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the run: its free space is checked."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a profile and its cohorts before a run: counts, free space, networks, cost by step."""
    from dataclasses import asdict

    from pipelines.check import check_run
    from pipelines.profile import load_profile

    with console.status("checking"):
        found = check_run(load_profile(profile), named(cohort or []), out)
    if as_json:
        print_json(asdict(found))
        return
    for name, count in found.patients.items():
        console.print(f"cohort {name}: {count} patients")
    console.print(_cost(found.estimates))
    console.print(f"disk: about {found.disk_gib:.1f} GiB")
    for warning in found.warnings:
        console.print(f"warning: {warning}", style="yellow")
    console.print("The profile can be run.")


def _cost(estimates: Sequence[Estimate]) -> Table:
    from rich.table import Table

    table = Table(title="Estimate for this machine")
    for heading in ("step", "minutes", "memory, GiB"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    for each in estimates:
        minutes = "not measured on a GPU" if each.minutes is None else f"{max(each.minutes, 1):.0f}"
        table.add_row(each.step, minutes, f"{each.memory_gib:.1f}")
    return table


def _print_next_steps(summary: RunSummary, out: Path, tracking_uri: str | None) -> None:
    verdict = "passed" if summary.gate.passed else "refused: not promoted"
    verdict = "not asked" if summary.unsent else verdict
    store = tracking_uri or f"sqlite:///{out}/mlflow/mlflow.db"
    console.print(f"Gate: {verdict} (rules and their inputs in {out}/summary.json)")
    console.print("Next:", style="bold")
    for what, how in (
        ("read the report", f"{out}/report.html"),
        ("see what was validated", f"{out}/validated/validation.html"),
        ("open the lineage", f"mlflow ui --backend-store-uri {store}"),
        ("serve the release", f"glioflow serve --run {out}"),
    ):
        console.print(f"  {what:<24}{how}", soft_wrap=True, highlight=False)


def named(pairs: list[str], option: str = "--cohort") -> dict[str, str]:
    """NAME=MANIFEST pairs as a mapping. Raises BadInput naming the option."""
    cohorts: dict[str, str] = {}
    for pair in pairs:
        name, equals, manifest = pair.partition("=")
        if not (name and equals and manifest):
            raise BadInput(f"{option} {pair}", "not NAME=MANIFEST", "write development=cohort.csv")
        if name in cohorts:
            raise BadInput(f"{option} {pair}", f"'{name}' is given twice", "name each cohort once")
        cohorts[name] = manifest
    return cohorts


def compile_pipeline(
    profile: ProfileOption,
    out: Annotated[Path, typer.Option("--out", help="YAML file to write.")] = Path("pipeline.yaml"),
    components: Annotated[
        Path | None,
        typer.Option(help="Folder for each step as a component file, for other pipelines."),
    ] = None,
) -> None:
    """Compile the pipeline to KFP's IR YAML for Kubeflow."""
    from pipelines.kubeflow.cluster import compile_components, compile_profile
    from pipelines.profile import load_profile

    chosen = load_profile(profile)
    if components is not None:
        files = compile_components(components)
        console.print(f"wrote {len(files)} components to {components}")
    compile_profile(chosen, out)
    console.print(f"wrote {out}")


def submit(
    profile: ProfileOption,
    host: HostOption,
    cohort: CohortOption = None,
    tracking_uri: Annotated[str, typer.Option(help="MLflow the cluster can reach.")] = "",
    experiment: Annotated[str, typer.Option(help="KFP experiment.")] = "glioflow",
    token: TokenOption = "",
    token_file: TokenFileOption = None,
    cookie: CookieOption = "",
    ca: CaOption = None,
    namespace: NamespaceOption = "",
    as_json: Json = False,
) -> None:
    """Submit one run to Kubeflow."""
    from pipelines.kubeflow import cluster
    from pipelines.profile import load_profile

    login = cluster.Login.of(token, token_file, cookie, ca, namespace)
    client = cluster.connect_to_kubeflow(host, login)
    done = cluster.submit(
        client, load_profile(profile), named(cohort or []), tracking_uri, experiment
    )
    print_json(done) if as_json else console.print(f"run {done['run_id']} submitted to {host}")


def schedule(
    profile: ProfileOption,
    host: HostOption,
    cron: Annotated[str, typer.Option(help="Six-field cron expression, e.g. '0 0 2 * * 1'.")],
    cohort: CohortOption = None,
    tracking_uri: Annotated[str, typer.Option(help="MLflow the cluster can reach.")] = "",
    experiment: Annotated[str, typer.Option(help="KFP experiment.")] = "glioflow",
    only_new: Annotated[
        str,
        typer.Option(help="s3:// record of known cohorts; a run without new data ends at once."),
    ] = "",
    drift: Annotated[
        str,
        typer.Option(help="s3:// log of recent predictions; without drift a run ends at once."),
    ] = "",
    drift_reference: Annotated[
        str, typer.Option(help="s3:// audit log of the reference patients, for --drift.")
    ] = "",
    token: TokenOption = "",
    token_file: TokenFileOption = None,
    cookie: CookieOption = "",
    ca: CaOption = None,
    namespace: NamespaceOption = "",
    as_json: Json = False,
) -> None:
    """Retrain on a schedule, on new data, or after drift: a recurring run on Kubeflow."""
    from pipelines.kubeflow import cluster
    from pipelines.profile import load_profile

    cluster.check_cron(cron)
    login = cluster.Login.of(token, token_file, cookie, ca, namespace)
    client = cluster.connect_to_kubeflow(host, login)
    done = cluster.schedule(
        client,
        load_profile(profile),
        named(cohort or []),
        tracking_uri,
        experiment,
        cron,
        only_new,
        cluster.Audits(drift_reference, drift) if drift or drift_reference else None,
    )
    print_json(done) if as_json else console.print(f"schedule {done['schedule_id']} made on {host}")


def status(
    host: HostOption,
    run_id: Annotated[str, typer.Argument(help="KFP run; default: the newest of glioflow.")] = "",
    token: TokenOption = "",
    token_file: TokenFileOption = None,
    cookie: CookieOption = "",
    ca: CaOption = None,
    namespace: NamespaceOption = "",
    as_json: Json = False,
) -> int:
    """State of a run on Kubeflow and of its tasks; exit 1 when the run failed or was cancelled."""
    from dataclasses import asdict

    from pipelines.kubeflow import cluster

    login = cluster.Login.of(token, token_file, cookie, ca, namespace)
    found = cluster.status(cluster.connect_to_kubeflow(host, login), run_id)
    if as_json:
        print_json(asdict(found))
    else:
        console.print(f"{found.name} ({found.run_id}): [bold]{found.state}[/] {found.message}")
        console.print(_task_table(found.tasks))
    return ExitCode.OUR_FAULT if found.failed else ExitCode.DONE


def _task_table(tasks: Sequence[Task]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    result = Table(box=SIMPLE_HEAD)
    for heading in ("task", "state", "time", "message"):
        result.add_column(heading, overflow="fold")
    for task in tasks:
        took = str(task.ended - task.started) if task.started and task.ended else ""
        result.add_row(task.name, task.state, took, task.message[:300])
    return result


COMMANDS: Commands = {
    "Run": (run, check),
    "Kubeflow": (compile_pipeline, submit, schedule, status),
}
