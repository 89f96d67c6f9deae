"""Commands of the Triton server and its client."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from components.core.errors import BadInput, ExitCode
from components.release.settings import Node
from pipelines.cli.terminal import Commands, Json, console, print_json, progress_bar

ServerOption = Annotated[str, typer.Option("--server", help="Triton's gRPC address, HOST:PORT.")]
TlsOption = Annotated[bool, typer.Option("--tls", help="Encrypt the connection.")]
CaOption = Annotated[
    Path | None,
    typer.Option("--ca", help="PEM file of the authorities to trust; else the system's."),
]
CertificateOption = Annotated[
    Path | None, typer.Option("--certificate", help="PEM file with this client's certificate.")
]
KeyOption = Annotated[Path | None, typer.Option("--key", help="PEM file of its private key.")]
TokenOption = Annotated[
    str,
    typer.Option(
        "--token", envvar="GLIOFLOW_TOKEN", show_envvar=True, help="Sent as a bearer token."
    ),
]
SharedOption = Annotated[
    bool,
    typer.Option(
        "--shared-memory/--no-shared-memory",
        help="Use shared memory with a server on this machine.",
    ),
]
NodeOption = Annotated[
    Node | None,
    typer.Option(
        "--node",
        envvar="GLIOFLOW_NODE",
        show_envvar=True,
        help="Kind of machine that serves, if not the one the release was exported for.",
    ),
]
RunOption = Annotated[
    Path | None, typer.Option("--run", help="Folder of a run, whose release is served.")
]


def serve(
    run: RunOption = None,
    repository: Annotated[
        Path | None, typer.Option(help="Exported release: a folder with release.json.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Registry alias or version: champion, candidate, 3.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="Folder filled by `fetch-release`; its current release is served."),
    ] = None,
    tracking_uri: Annotated[str, typer.Option(help="MLflow that holds --model.")] = "",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    audit_log: Annotated[
        Path | None, typer.Option(help="File that gets one JSON line per prediction.")
    ] = None,
    grpc_port: Annotated[int, typer.Option(min=1, max=65535)] = 8001,
    http_port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    metrics_port: Annotated[int, typer.Option(min=1, max=65535)] = 8002,
    node: NodeOption = None,
) -> None:
    """Start a Triton server with the ensemble and wait until it is stopped."""
    from serving.triton.server import LocalServer

    if store is not None and (run or repository or model):
        raise BadInput("--store", "given beside a release", "leave one of them out")
    with LocalServer(
        None if store else _repository(run, repository, model, tracking_uri),
        store=store,
        host=host,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        audit=audit_log,
        node=node,
    ) as server:
        console.print(f"[bold]{server.release}[/] answers on {server.grpc_address} (gRPC)")
        console.print(
            "  glioflow predict --t1c T1C --t2 T2 --flair FLAIR --age YEARS "
            f"--server {server.grpc_address} --out DIR",
            soft_wrap=True,
            highlight=False,
        )
        console.print(f"  log: {server.log}; stop with Ctrl-C", highlight=False)
        server.wait()


def _repository(
    run: Path | None, repository: Path | None, model: str | None, tracking_uri: str
) -> Path:
    if sum(choice is not None for choice in (run, repository, model)) != 1:
        raise BadInput(
            "release",
            "give exactly one place to take it from",
            "try --run runs/demo, or --model champion",
        )
    if model is not None:
        from components.registry.tracking.model_versions import fetch_repository

        return fetch_repository(model, tracking_uri)
    folder = repository or Path(str(run)) / "repository"
    if not (folder / "release.json").is_file():
        raise BadInput(folder, "holds no exported release", "run `glioflow run --out` there first")
    return folder


def _access(
    tls: bool, ca: Path | None, certificate: Path | None, key: Path | None, token: str
) -> Any:
    from serving.client.client import Access

    if (certificate is None) != (key is None):
        raise BadInput("--certificate, --key", "only one of the two", "give both")
    identity = (certificate, key) if certificate and key else None
    return Access(tls=tls, certificates=ca, identity=identity, token=token)


def ready(
    server: ServerOption = "localhost:8001",
    tls: TlsOption = False,
    ca: CaOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    token: TokenOption = "",
    patience: Annotated[
        float, typer.Option(min=1.0, help="Seconds within which a full server must answer anyone.")
    ] = 25.0,
) -> int:
    """Exit 0 when both ensembles answer a whole request, or are full and answer those they took."""
    from serving.client.client import Client
    from serving.triton.control import health

    access = _access(tls, ca, certificate, key, token)
    with Client(server, access=access, deadline_s=patience / 3) as client:
        found = health(client, patience)
    console.print(f"{server}: {found.said}")
    return ExitCode.DONE if found.alive else ExitCode.OUR_FAULT


def predict(
    t1c: Annotated[Path, typer.Option(help="NIfTI file or DICOM series folder.")],
    flair: Annotated[Path, typer.Option(help="NIfTI file or DICOM series folder.")],
    age: Annotated[float, typer.Option(help="Years.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    t2: Annotated[Path | None, typer.Option(help="NIfTI file or DICOM series folder.")] = None,
    patient_id: Annotated[str, typer.Option(help="Written into the prediction.")] = "unnamed",
    run: Annotated[
        Path | None, typer.Option(help="Folder of a run: its release answers, without a server.")
    ] = None,
    release: Annotated[
        Path | None, typer.Option(help="Exported release that answers, without a server.")
    ] = None,
    server: ServerOption = "localhost:8001",
    explain: Annotated[
        Path | None,
        typer.Option(help="Run (or classifier folder) of the release: adds saliency maps."),
    ] = None,
    tls: TlsOption = False,
    ca: CaOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    token: TokenOption = "",
    shared_memory: SharedOption = True,
    accept_implausible: Annotated[
        bool,
        typer.Option("--accept-implausible", help="Predict although a plausibility limit fails."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Predict one patient; write prediction.json, the mask and a page to read."""
    from components.release.inference.local_release import LocalRelease
    from serving.client.client import Client
    from serving.predict import PatientFiles, predict_patient

    files = PatientFiles(t1c=t1c, t2=t2, flair=flair, age=age, patient_id=patient_id)
    with console.status("preparing and predicting"), ExitStack() as stack:
        if run or release:
            asked: Any = LocalRelease(_repository(run, release, None, ""))
        else:
            access = _access(tls, ca, certificate, key, token)
            client = Client(server, access=access, shared_memory=shared_memory)
            asked = stack.enter_context(client)
        answer = predict_patient(
            asked, files, out, explain=explain, accept_implausible=accept_implausible
        )
    _tell(answer, out, as_json)


def _tell(answer: dict[str, Any], out: Path, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    probability, volume = answer["probability_idh_mutant"], answer["tumor_volume_ml"]
    said = "no probability" if probability is None else f"P(IDH mutant) = {probability:.2f}"
    tumor = "" if volume is None else f", tumour {volume:.1f} mL"
    console.print(f"{answer['status']}: {said}{tumor}")
    console.print(f"  {answer['release']}, trained on {answer['trained_on']}. Research use only.")
    for warning in answer["warnings"]:
        console.print(f"  warning: {warning}", style="yellow")
    if "reason" in answer:
        console.print(f"  {out}/prediction.json")
        return
    console.print(f"  {out}/prediction.html  {out}/tumor_mask.nii.gz  {out}/prediction.json")
    if "saliency" in answer:
        console.print(f"  {out}/explanation.png: where in the images the hybrid looked")


def predict_cohort(
    manifest: Annotated[Path, typer.Argument(help="CSV with one row per patient.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    server: ServerOption = "localhost:8001",
    workers: Annotated[int, typer.Option(min=1, help="Patients processed at once.")] = 2,
    deadline: Annotated[
        float, typer.Option(min=1, help="Longest wait for one patient, seconds.")
    ] = 300.0,
    tls: TlsOption = False,
    ca: CaOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    token: TokenOption = "",
    shared_memory: SharedOption = True,
    as_json: Json = False,
) -> None:
    """Predict a manifest's patients; skips patients already predicted."""
    from serving.batch import predict_manifest
    from serving.client.client import Client

    access = _access(tls, ca, certificate, key, token)
    with (
        Client(server, deadline_s=deadline, access=access, shared_memory=shared_memory) as client,
        progress_bar("patients") as progress,
    ):
        done = predict_manifest(client, manifest, out, workers=workers, progress=progress)
    if as_json:
        print_json({**asdict(done), "out": str(out)})
        return
    console.print(f"{done.answered} answered ({done.kept} before), in {out}/predictions.csv")
    for failure in done.quarantined:
        console.print(f"  {failure.patient_id}: {failure.reason}; {failure.remedy}", style="yellow")
    console.print("  Research use only.")


def fetch_release(
    address: Annotated[str, typer.Argument(help="Folder or s3:// prefix of the release store.")],
    store: Annotated[Path, typer.Option(help="Folder whose models/ Triton reads.")],
    watch: Annotated[float, typer.Option(min=0, help="Repeat every N seconds; 0: once.")] = 0.0,
    key: Annotated[
        str,
        typer.Option(
            help="Public key or root certificate (PEM) that must be behind the signature."
        ),
    ] = "",
    node: NodeOption = None,
) -> None:
    """Fetch and verify the current release into the folder that Triton reads."""
    from pipelines import fetch
    from serving.triton.server_folder import Store

    def told(release: str) -> None:
        console.print(f"{store}: {release} is live", highlight=False, soft_wrap=True)

    kept = Store(store, node)
    if watch:
        fetch.watch(address, kept, watch, key, told=told)
    else:
        told(fetch.fetch_release(address, kept, key))


COMMANDS: Commands = {"Serve and predict": (serve, ready, predict, predict_cohort, fetch_release)}
