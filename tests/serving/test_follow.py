"""What `serve --store` refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.core.errors import BadInput
from pipelines import cli
from serving.triton.server import LocalServer


def test_a_store_and_a_release_are_not_both_served(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["serve", "--store", "s", "--run", "r"]) == 2
    assert "--store" in capsys.readouterr().err


def test_an_empty_store_is_bad_input(tmp_path: Path) -> None:
    with (
        pytest.raises(BadInput, match="holds no release"),
        LocalServer(None, store=tmp_path / "store"),
    ):
        pass
