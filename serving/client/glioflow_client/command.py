"""The command glioflow-client."""

from __future__ import annotations

import argparse
import json
import sys
from os import environ
from pathlib import Path

from .connection import DEADLINE_S, Access
from .errors import Refused, ServerTrouble
from .images import SEQUENCES, ImagesClient


def main(arguments: list[str] | None = None) -> int:
    """The command glioflow-client: 0 done, 1 the server's fault, 2 bad input."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except Refused as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 2
    except ServerTrouble as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("glioflow-client", description="Ask a glioflow server.")
    commands = parser.add_subparsers(dest="command", required=True)
    predict = commands.add_parser("predict", help="one patient's images in, an answer out")
    ready = commands.add_parser("ready", help="exit 0 when the server answers a whole request")
    for name in ("t1c", "t2", "flair", "brain-mask"):
        text = "NIfTI file, ZIP or folder of one DICOM series"
        predict.add_argument(f"--{name}", type=Path, help=text, required=name == "t1c")
    predict.add_argument("--age", type=float, required=True, help="years")
    predict.add_argument("--out", type=Path, required=True, help="folder to write to")
    predict.add_argument("--patient-id", help="pseudonym for prediction.json; is not sent")
    predict.add_argument("--page", action="store_true", help="also write prediction.html")
    for command in (predict, ready):
        command.add_argument("--server", default="localhost:8001", help="HOST:PORT (gRPC)")
        command.add_argument("--deadline", type=float, default=DEADLINE_S, help="seconds")
        command.add_argument("--tls", action="store_true", help="encrypt the connection")
        command.add_argument("--ca", type=Path, help="PEM file of the authorities to trust")
        command.add_argument("--certificate", type=Path, help="PEM file that tells who asks")
        command.add_argument("--key", type=Path, help="PEM file of its private key")
        token = environ.get("GLIOFLOW_TOKEN", "")
        command.add_argument("--token", default=token, help="bearer token [GLIOFLOW_TOKEN]")
    return parser


def _run(options: argparse.Namespace) -> int:
    if (options.certificate is None) != (options.key is None):
        raise Refused("--certificate, --key", "only one of the two", "give both")
    identity = (options.certificate, options.key) if options.key else None
    access = Access(options.tls, options.ca, identity, options.token)
    with ImagesClient(options.server, deadline_s=options.deadline, access=access) as client:
        if options.command == "ready":
            reason = client.canary()
            sys.stderr.write(f"{options.server}: {reason or 'answers'}\n")
            return 0 if reason is None else 1
        images = {name: getattr(options, name) for name in (*SEQUENCES, "brain_mask")}
        answer = client.predict(age=options.age, page=options.page, **images)
    if options.patient_id:
        answer.result["patient_id"] = options.patient_id
    try:
        answer.write(options.out)
    except OSError as error:
        raise Refused(options.out, error.strerror or "not writable", "give another --out") from None
    sys.stdout.write(json.dumps(answer.result, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
