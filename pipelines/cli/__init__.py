"""The `glioflow` command: thin wrappers over the packages, and one line for bad input."""

from __future__ import annotations

import logging
import sys

import typer

from components.core.errors import BadInput, ExitCode, StepFailed, denied, outage_of
from pipelines.cli import (
    audit,
    benches,
    data,
    deploy,
    runs,
    segment,
    serve,
    statistics,
    studies,
)
from pipelines.cli.pacs import gateway

app = typer.Typer(
    name="glioflow",
    help="IDH mutation status of glioma from T1C, T2 and FLAIR MRI. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (data, statistics, runs, studies, serve, segment, deploy, audit, benches):
    for heading, commands in module.COMMANDS.items():
        for command in commands:
            name = command.__name__.removesuffix("_pipeline").replace("_", "-")
            app.command(name, rich_help_panel=heading)(command)
app.add_typer(gateway.app, name="gateway", rich_help_panel="Serve and predict")


@app.callback()
def _options(
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log every step to stderr."),
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code. Bad input never shows a traceback."""
    try:
        code = app(arguments, standalone_mode=False)
    except BadInput as error:
        return _refuse(str(error))
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "glioflow"
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        problem = message.rstrip(".")
        return _refuse(f"{problem}; see {where} --help")
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("glioflow: stopped\n")
        return ExitCode.OUR_FAULT
    except StepFailed as error:
        sys.stderr.write(f"glioflow: {error}\n")
        return ExitCode.OUR_FAULT
    except PermissionError as error:
        return _refuse(str(denied(error)))
    except Exception as error:
        outage = outage_of(error) if isinstance(error, OSError) else None
        if outage:
            return _refuse(str(outage))
        logging.getLogger("glioflow").exception("an error of ours, not of the input")
        return ExitCode.OUR_FAULT
    return int(code or ExitCode.DONE)


def _refuse(line: str) -> int:
    sys.stderr.write(f"glioflow: {' '.join(line.split())}\n")
    return ExitCode.BAD_INPUT
