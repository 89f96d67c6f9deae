"""Commands for auditing, publishing and promoting models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.core.errors import BadInput, ExitCode
from pipelines.cli.terminal import Commands, Json, console, print_json, progress_bar

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from components.registry.audit.links import AuditReport

TrackingOption = Annotated[str, typer.Option("--tracking-uri", help="MLflow tracking URI.")]
KeyOption = Annotated[
    Path | None, typer.Option(help="The approver's SSH key (ssh-keygen signs with it).")
]
ApprovalOption = Annotated[
    list[Path] | None, typer.Option(help="A file of `glioflow approve`; once for each approver.")
]


def audit(
    model: Annotated[str, typer.Argument(help="MODEL[@ALIAS|/VERSION], or a prediction.json.")],
    tracking_uri: TrackingOption = "sqlite:///runs/demo/mlflow/mlflow.db",
    key: Annotated[
        str,
        typer.Option(
            help="Public key or root certificate (PEM) that must be behind the signature."
        ),
    ] = "",
    local: Annotated[
        Path | None,
        typer.Option(help="The run's --out folder, or an exported release, to check as well."),
    ] = None,
    approvers: Annotated[
        Path | None, typer.Option(help="File of the approvers that must be in force.")
    ] = None,
    witness: Annotated[
        Path | None,
        typer.Option(help="Folder of `glioflow witness`: prove that history was not rewritten."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Verify the whole chain from a model to its data; exit 1 when any link is broken."""
    from components.registry.audit.audit import audit as audit_model

    report = audit_model(
        model, tracking_uri, local=local, key=key, approvers=approvers, witness=witness
    )
    if as_json:
        print_json(report.to_json())
    else:
        console.print(_tree(report), soft_wrap=True)
    return ExitCode.DONE if report.ok else ExitCode.OUR_FAULT


def _tree(report: AuditReport) -> Tree:
    """The chain as a tree: a branch a link, a leaf a check; what broke says how."""
    from rich.tree import Tree

    tree = Tree(_marked(report.ok, report.reference))
    for link, checks in report.links.items():
        branch = tree.add(_marked(all(check.ok for check in checks), link.value))
        for check in checks:
            detail = "" if check.ok else f": expected {check.expected}, found {check.found}"
            branch.add(_marked(check.ok, check.what.removeprefix(f"{link}: ") + detail))
    return tree


def _marked(ok: bool, words: str) -> Text:
    from rich.text import Text

    return Text.assemble(("ok ", "green") if ok else ("BROKEN ", "bold red"), words)


def publish(
    resume: Annotated[
        Path | None, typer.Option(help="Folder of a run that could not be published.")
    ] = None,
    export: Annotated[
        str, typer.Option(help="Folder or s3:// prefix to export the champion to.")
    ] = "",
    model: Annotated[
        str, typer.Option(help="With --export: a release other than the champion.")
    ] = "",
    tracking_uri: Annotated[
        str, typer.Option(help="MLflow tracking URI; with --resume: overrides the run's own.")
    ] = "",
) -> None:
    """Publish a run that could not be sent, or export a published release."""
    if (resume is None) == (not export):
        raise BadInput("publish", "give --resume or --export", "see glioflow publish --help")
    if resume is not None:
        from components.registry.pending import resume as send

        with progress_bar("publish") as progress:
            sent = send(resume, tracking_uri, progress=progress)
        for published in sent:
            console.print(f"{published.release} published as run {published.mlflow_run_id}")
        return
    from components.registry.delivery import export_version

    with console.status("exporting"):
        release = export_version(model or "glioma-idh@champion", tracking_uri, export)
    console.print(f"{export} serves {release}", highlight=False)


def promote(
    model: Annotated[str, typer.Argument(help="MODEL/VERSION or MODEL@ALIAS.")],
    approve: Annotated[
        str, typer.Option(help='Who approves it, and why: "name: reason"; signed with --key.')
    ] = "",
    key: KeyOption = None,
    approval: ApprovalOption = None,
    tracking_uri: TrackingOption = "sqlite:///runs/demo/mlflow/mlflow.db",
) -> None:
    """Promote a release that people approve; never one trained on phantoms."""
    from components.registry.approval.approvers import approve as sign
    from components.registry.approval.statement import SignedApproval
    from components.registry.promote import promote as make_champion

    approvals = [SignedApproval.read(path) for path in approval or ()]
    if key is not None:
        approvals.append(sign(model, tracking_uri, approve, key))
    elif approve and approvals:
        raise BadInput("--approve", "a typed name beside signed approvals", "sign it with --key")
    version = make_champion(model, tracking_uri, approve, approvals)
    vouched = "" if approvals else "; nobody vouched for the name given: no approvers are listed"
    console.print(f"{model}: version {version} is champion{vouched}", soft_wrap=True)


def approve(
    subject: Annotated[
        str, typer.Argument(help="MODEL/VERSION to become champion, or the next approvers' file.")
    ],
    who: Annotated[str, typer.Argument(metavar='"NAME: REASON"', help="Who approves, and why.")],
    key: Annotated[Path, typer.Option(help="The approver's SSH key (ssh-keygen signs with it).")],
    out: Annotated[Path, typer.Option(help="Where the statement goes; its signature: OUT.sig.")],
    tracking_uri: TrackingOption = "sqlite:///runs/demo/mlflow/mlflow.db",
) -> None:
    """Sign, as one of the approvers listed, what `promote` or `approvers` will do."""
    from components.registry.approval.approvers import approve as sign

    sign(subject, tracking_uri, who, key).write(out)
    console.print(f"{out}: signed; give it to whoever promotes, with {out}.sig", soft_wrap=True)


def approvers(
    file: Annotated[Path, typer.Argument(help="YAML: approvals, automatic, allowed_signers.")],
    approval: ApprovalOption = None,
    tracking_uri: TrackingOption = "sqlite:///runs/demo/mlflow/mlflow.db",
) -> None:
    """List who may approve, and how many must; from the second time on with their approval."""
    from components.registry.approval.approvers import list_approvers
    from components.registry.approval.statement import SignedApproval

    approvals = [SignedApproval.read(path) for path in approval or ()]
    sha256 = list_approvers(file, tracking_uri, approvals)
    console.print(f"approvers {sha256} are in force", soft_wrap=True)


def witness(
    folder: Annotated[Path, typer.Argument(help="The auditor's folder of time-stamps.")],
    authority: Annotated[
        str, typer.Option(help="Address of a time-stamp authority (RFC 3161) that stamps now.")
    ] = "",
    root: Annotated[
        Path | None, typer.Option(help="Its root certificates (PEM); kept in the folder.")
    ] = None,
    tracking_uri: TrackingOption = "sqlite:///runs/demo/mlflow/mlflow.db",
) -> None:
    """Keep time-stamps of the ledger, by which `audit --witness` finds rewritten history."""
    from components.registry.witness.witness import keep_witness

    proved = keep_witness(folder, tracking_uri, authority, root)
    console.print(
        f"{folder}: entries 1 to {proved.number} of {proved.entries} were there at {proved.at}",
        soft_wrap=True,
    )


def rollback(
    model: Annotated[str, typer.Argument(help="Name of the registered model.")] = "glioma-idh",
    tracking_uri: TrackingOption = "sqlite:///runs/demo/mlflow/mlflow.db",
    reason: Annotated[str, typer.Option(help="Why; written into the ledger.")] = "",
) -> None:
    """Restore the previous champion."""
    from components.registry.promote import rollback as roll_back

    version = roll_back(model, tracking_uri, reason)
    console.print(f"{model} version {version} is champion again")


def repair(
    tracking_uri: TrackingOption = "sqlite:///runs/demo/mlflow/mlflow.db",
) -> None:
    """Complete what a killed writer of the ledger left behind; settle two entries of one number."""
    from components.registry.ledger_sync import repair as repair_ledger

    for sentence in repair_ledger(tracking_uri) or ["nothing to repair"]:
        console.print(sentence, highlight=False)


COMMANDS: Commands = {
    "Register and audit": (
        *(audit, publish, promote, approve, approvers, rollback, repair, witness),
    )
}
