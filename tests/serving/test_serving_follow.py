"""A server on a store that `fetch-release` fills loads what becomes live there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.cohort.errors import BadInput
from pipelines import cli
from serving import server as server_module
from serving.server import LocalServer


class _Client:
    """Stands in for the connection to Triton: notes what is loaded, or refuses."""

    loaded: list[str] = []  # noqa: RUF012
    refuses = False

    def __init__(self, address: str) -> None:
        self.raw = self

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *arguments: object) -> None:
        pass

    def load_model(self, name: str) -> None:
        if self.refuses:
            raise RuntimeError("failed to load")
        self.loaded.append(name)


class _Store:
    live: list[str] = ["a"]  # noqa: RUF012

    def history(self) -> list[str]:
        return self.live


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> LocalServer:
    monkeypatch.setattr(server_module, "Client", _Client)
    monkeypatch.setattr(_Client, "loaded", [])
    made: Any = LocalServer(None, store=Path("unused"))
    made.store, made.release = _Store(), "a"
    return made


def test_it_loads_once_what_becomes_live(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.follow_store()
    assert _Client.loaded == []
    monkeypatch.setattr(_Store, "live", ["a", "b"])
    server.follow_store()
    server.follow_store()
    assert (_Client.loaded, server.release) == (["glioma_idh"], "b")


def test_a_release_that_does_not_load_is_tried_once(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_Client, "refuses", True)
    monkeypatch.setattr(_Store, "live", ["a", "b"])
    server.follow_store()
    server.follow_store()
    assert server.release == "a"
    assert caplog.text.count("b does not load") == 1


def test_a_store_and_a_release_are_not_both_served(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["serve", "--store", "s", "--run", "r"]) == 2
    assert "--store" in capsys.readouterr().err


def test_an_empty_store_is_bad_input(tmp_path: Path) -> None:
    with (
        pytest.raises(BadInput, match="holds no release"),
        LocalServer(None, store=tmp_path / "store"),
    ):
        pass
