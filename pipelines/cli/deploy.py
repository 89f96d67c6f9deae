"""Commands for a running server: deploy a release, detect drift, judge outcomes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from components.core.errors import BadInput
from pipelines.cli.serve import NodeOption
from pipelines.cli.terminal import Commands, Json, console, print_json

StoreOption = Annotated[Path, typer.Option("--store", help="Folder that `serve --store` reads.")]
WaitOption = Annotated[
    str, typer.Option("--server", help="HOST:PORT: wait until this server serves it.")
]


def deploy(
    store: StoreOption,
    repository: Annotated[
        Path | None, typer.Argument(help="Exported release: a folder with release.json.")
    ] = None,
    previous: Annotated[
        bool, typer.Option("--previous", help="Restore the previous release.")
    ] = False,
    server: WaitOption = "",
    node: NodeOption = None,
) -> None:
    """Deploy a verified release; requests in flight finish on the old one."""
    from serving.triton.control import await_release
    from serving.triton.server_folder import Store

    if (repository is None) is not previous:
        raise BadInput("deploy", "give a release or --previous", "try deploy runs/demo/repository")
    kept = Store(store, node)
    release = kept.previous() if repository is None else kept.add(repository)
    kept.make_live(release)
    if server:
        with console.status(f"{server} loads {release.release}"):
            await_release(server, release.release)
    console.print(f"{release.release} is live in {store}", soft_wrap=True, highlight=False)


def drift(
    reference: Annotated[Path, typer.Argument(help="Audit log of the reference patients.")],
    answers: Annotated[Path, typer.Argument(help="Audit log of recent patients.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for drift.json and drift.html.")],
    as_json: Json = False,
) -> None:
    """Compare recent inputs and predictions with those on reference patients."""
    from dataclasses import asdict

    from components.monitor.drift_report import judge_drift, said

    found = judge_drift(reference, answers, out)
    if as_json:
        print_json({**asdict(found), "enough": found.enough, "drifted": found.drifted})
    else:
        console.print(f"{said(found)}  {out}/drift.html", soft_wrap=True, highlight=False)


def outcomes(
    answers: Annotated[
        Path, typer.Argument(help="Audit log (.jsonl), or predict-cohort's predictions.csv.")
    ],
    labels: Annotated[
        Path, typer.Argument(help="CSV: idh, and patient_id, request_id or input_sha256.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for outcomes.json, .html and quarantine.csv.")
    ],
    as_json: Json = False,
) -> None:
    """Judge answers by IDH status that came later, and by their own probabilities until then."""
    from components.monitor.performance_report import outcomes_sentence, write_outcomes

    found = write_outcomes(answers, labels, out)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        console.print(
            f"{outcomes_sentence(found)}  {out}/outcomes.html", soft_wrap=True, highlight=False
        )


COMMANDS: Commands = {"Serve and predict": (deploy, drift, outcomes)}
