"""Commands of the auditor: prove a model's chain, or move back to the model before."""

from __future__ import annotations

from typing import Annotated

import typer

from components.cohort.errors import ExitCode
from pipelines.cli.terminal import Json, console, print_json

TrackingOption = Annotated[str, typer.Option("--tracking-uri", help="MLflow tracking URI.")]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands to the application."""
    for command in (audit, rollback):
        app.command()(command)


def audit(
    model: Annotated[str, typer.Argument(help="MODEL[@ALIAS|/VERSION], or a prediction.json.")],
    tracking_uri: TrackingOption = "sqlite:///runs/demo/mlflow/mlflow.db",
    as_json: Json = False,
) -> int:
    """Walk and verify the whole chain behind a model; exit 1 when any link is broken."""
    from components.publish.audit import audit as audit_model

    report = audit_model(model, tracking_uri)
    if as_json:
        print_json(report.to_json())
    else:
        for check in report.checks:
            mark = "[green]ok[/]    " if check.ok else "[red]BROKEN[/]"
            detail = "" if check.ok else f": expected {check.expected}, found {check.found}"
            console.print(f"{mark} {check.what}{detail}", highlight=False, soft_wrap=True)
    return ExitCode.DONE if report.ok else ExitCode.OUR_FAULT


def rollback(
    model: Annotated[str, typer.Argument(help="Name of the registered model.")] = "glioma-idh",
    tracking_uri: TrackingOption = "sqlite:///runs/demo/mlflow/mlflow.db",
    reason: Annotated[str, typer.Option(help="Why; written into the ledger.")] = "",
) -> None:
    """Make the champion before the present one the champion again."""
    from components.publish.promote import rollback as roll_back

    version = roll_back(model, tracking_uri, reason)
    console.print(f"{model} version {version} is champion again")
