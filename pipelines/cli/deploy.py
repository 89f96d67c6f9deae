"""Commands that change which release a running server answers with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.terminal import console

if TYPE_CHECKING:
    from serving.repository import Release
    from serving.store import Store

StoreOption = Annotated[Path, typer.Option("--store", help="The store that `serve` reads.")]
WaitOption = Annotated[
    str, typer.Option("--server", help="HOST:PORT: wait until this server answers with it.")
]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands to the application."""
    app.command()(deploy)
    app.command()(rollback)


def deploy(
    repository: Annotated[Path, typer.Argument(help="Exported release: holds release.json.")],
    store: StoreOption,
    server: WaitOption = "",
) -> None:
    """Serve another release, verified; requests in flight are answered by the old one."""
    from serving.store import Store

    kept = Store(store)
    _make_live(kept, kept.add(repository), server)


def rollback(store: StoreOption, server: WaitOption = "") -> None:
    """Serve the release that was live before this one."""
    from serving.store import Store

    kept = Store(store)
    _make_live(kept, kept.previous(), server)


def _make_live(store: Store, release: Release, server: str) -> None:
    from serving.control import await_release

    store.make_live(release)
    if server:
        with console.status(f"{server} loads {release.release}"):
            await_release(server, release.release)
    console.print(f"{release.release} is live in {store.folder}", soft_wrap=True, highlight=False)
