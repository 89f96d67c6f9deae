"""A gateway's YAML file: one line for what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from components.core.errors import BadInput
from serving.pacs.gateway.settings import Caller, read_settings
from tests.conftest import ROOT

GOOD = {
    "folder": "/var/lib/gateway",
    "listen": {"callers": [{"ae_title": "PACS", "addresses": ["10.0.0.0/24"]}]},
    "send": {"ae_title": "PACS", "host": "pacs", "port": 104},
}
WEB = {"url": "http://pacs/dicom-web", "token_file": "/run/token"}


def _read(folder: Path, **changed: object) -> object:
    content = {k: v for k, v in {**GOOD, **changed}.items() if v is not None}
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(content))
    return read_settings(path)


def test_a_good_one_is_read(tmp_path: Path) -> None:
    assert _read(tmp_path).quiet_s == 60.0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"quiet": 5}, "quiet: Extra inputs"),
        ({"listen": None}, "nowhere to take studies from"),
        ({"send": None}, "one place for answers"),
        ({"store": {"url": "http://pacs"}}, "one place for answers"),
        ({"send": None, "store": WEB}, "a token would travel unencrypted"),
        ({"listen": {"callers": []}}, "listen.callers"),
        ({"listen": {"callers": [{"ae_title": "A", "addresses": ["x"]}]}}, "listen.callers.0"),
        ({"listen": {"callers": [{"ae_title": "A" * 17, "addresses": ["::1"]}]}}, "ae_title"),
        ({"listen": {**GOOD["listen"], "tls": {"key": "k.pem"}}}, "certificate and key"),  # type: ignore[dict-item]
    ],
)
def test_a_bad_one_is_one_line(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=r"see docs/pacs\.md") as refused:
        _read(tmp_path, **changed)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_file_or_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read_settings(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(BadInput, match="no YAML"):
        read_settings(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("title", "address", "known"),
    [
        ("PACS", "10.0.0.7", True), ("PACS ", "10.0.0.7", True), ("PACS", "::ffff:10.0.0.7", True),
        ("PACS", "10.0.1.7", False), ("OTHER", "10.0.0.7", False), ("PACS", "fe80::1%eth0", False),
        ("PACS", "", False),
    ],
)  # fmt: skip
def test_a_caller_is_a_title_and_an_address(title: str, address: str, known: bool) -> None:
    caller = Caller(ae_title="PACS", addresses=("10.0.0.0/24",))
    assert caller.is_it(title, address) is known


def test_the_documented_examples_are_some(tmp_path: Path) -> None:
    text = (ROOT / "infra" / "gateway.example.yaml").read_text()
    assert read_settings(_written(tmp_path, text)).listen is not None
    manifest = ROOT / "infra" / "kubernetes" / "components" / "pacs" / "settings.yaml"
    text = yaml.safe_load(manifest.read_text())["data"]["gateway.yaml"]
    settings = read_settings(_written(tmp_path, text))
    assert settings.listen is not None
    assert settings.listen.tls == settings.send.tls is not None  # type: ignore[union-attr]


def _written(folder: Path, text: str) -> Path:
    (folder / "g.yaml").write_text(text)
    return folder / "g.yaml"
