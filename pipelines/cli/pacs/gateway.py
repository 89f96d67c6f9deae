"""Commands of the gateway between a PACS and the Triton server."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from components.core.errors import BadInput
from pipelines.cli.terminal import Json, console, print_json

SettingsOption = Annotated[Path, typer.Option("--settings", help="The gateway's YAML file.")]

app = typer.Typer(
    help="DICOM in, DICOM answers out: between a PACS and the Triton server.", no_args_is_help=True
)


@app.command()
def run(settings: SettingsOption) -> None:
    """Receive studies, have them answered, store the answers; until it is stopped."""
    from serving.pacs.gateway.service import gateway, work
    from serving.pacs.gateway.settings import read_settings

    wanted = read_settings(settings)
    stop = threading.Event()
    with gateway(wanted) as worker:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        listen = wanted.listen
        node = f"{listen.ae_title} on port {listen.port}" if listen else "polling"
        console.print(f"gateway: {node}; state in {wanted.folder}", highlight=False)
        work(worker, wanted.keep_h, stop)


@app.command()
def status(
    settings: SettingsOption,
    identify: Annotated[
        bool, typer.Option("--identify", help="Print StudyInstanceUIDs, which lead to patients.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Which studies came in, and what became of them; of what was refused, why."""
    from serving.pacs.gateway.service import STATE_FILE
    from serving.pacs.gateway.settings import read_settings
    from serving.pacs.gateway.state import GatewayState, Phase

    path = read_settings(settings).folder / STATE_FILE
    if not path.is_file():
        raise BadInput(path, "no gateway has worked there", "start one with `glioflow gateway run`")
    state = GatewayState(path)
    studies = state.studies()
    state.close()
    counts = {phase.value: sum(s.phase is phase for s in studies) for phase in Phase}
    shown = ("key", "phase", "status", "attempts", "reason", *(["study_uid"] if identify else []))
    rows = [{name: getattr(study, name) for name in shown} for study in studies]
    if as_json:
        print_json({"counts": counts, "studies": rows})
        return
    console.print(", ".join(f"{count} {phase}" for phase, count in counts.items()))
    for row in rows:
        console.print("  ".join(str(value) for value in row.values() if value != ""), markup=False)
