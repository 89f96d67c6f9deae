"""What is served follows the champion: published, rolled back, promoted, and proved by audit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from components.core.errors import Outage
from components.core.files import sha256_tree
from components.registry.audit.audit import audit
from components.registry.delivery import export_version
from components.registry.names import RegisteredModel
from components.registry.promote import promote, rollback
from components.registry.publish import publish_run
from components.release import store as depot
from tests.registry.fabricated_run import fabricate
from tests.registry.shop import Shop

RELEASE = RegisteredModel.RELEASE.value


@pytest.fixture(params=[pytest.param("folder", marks=pytest.mark.slow), "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "depot")
    request.getfixturevalue("s3")
    return "s3://bucket/served"


def served(address: str) -> str:
    pointer = depot.current(address)
    return pointer.release if pointer else ""


def broken(reference: str, uri: str, **more: Any) -> list[str]:
    return [check.what for check in audit(reference, uri, **more).checks if not check.ok]


def spoil(address: str, name: str, content: bytes) -> None:
    if address.startswith("s3://"):
        bucket, _, key = f"{address}/{name}".removeprefix("s3://").partition("/")
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=content)
    else:
        (Path(address) / name).write_bytes(content)


def test_what_is_served_follows_the_champion(
    tampered: Callable[[], Shop], tmp_path: Path, address: str
) -> None:
    shop = tampered()
    settings = shop.settings.model_copy(update={"export": address})
    third = publish_run(fabricate(tmp_path / "third", seed=9, skill=3.0), settings)
    assert served(address) == third.release
    refused = publish_run(fabricate(tmp_path / "fourth", seed=5, skill=0.3), settings)
    assert (refused.promotion, served(address)) == ("", third.release)
    assert not depot.holds(address, refused.release), "only winners are exported"
    assert rollback(RELEASE, shop.uri) == "2"
    assert served(address) == shop.published[1].release, "brought from the registry"
    fetched = depot.fetch(address, tmp_path / "here")
    assert sha256_tree(fetched) == sha256_tree(shop.runs[1].repository)
    assert promote("3", shop.uri, "Ada: the scanner was mended") == "3"
    assert served(address) == third.release
    assert broken(f"{RELEASE}@champion", shop.uri) == []
    # Publishing an older run again serves nothing older.
    publish_run(shop.runs[0], settings)
    assert served(address) == third.release


def test_audit_reads_what_is_served(
    tampered: Callable[[], Shop], tmp_path: Path, address: str
) -> None:
    shop = tampered()
    settings = shop.settings.model_copy(update={"export": address})
    done = publish_run(fabricate(tmp_path / "third", seed=9, skill=3.0), settings)
    depot.point(address, depot.push(shop.runs[0].repository, address))
    assert broken(RELEASE, shop.uri) == [f"export {address}: serves the champion"]
    export_version(f"{RELEASE}@champion", shop.uri, address)
    assert broken(RELEASE, shop.uri) == []
    spoil(address, f"releases/{done.release}/segmenter/config.pbtxt", b"altered")
    assert broken(RELEASE, shop.uri) == [f"export {address}: 10 files of {done.release}"]


@pytest.mark.slow
def test_a_place_that_was_away_is_completed(
    tampered: Callable[[], Shop], tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, address = tampered(), "s3://bucket/served"
    settings = shop.settings.model_copy(update={"export": address})
    run = fabricate(tmp_path / "third", seed=9, skill=3.0)
    with monkeypatch.context() as away:
        away.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(Outage):
            publish_run(run, settings)
        report = audit(f"{RELEASE}/3", shop.uri)
        assert report.ok
        assert any("cannot be read from here" in check.what for check in report.checks)
    done = publish_run(run, settings)
    assert (done.registered[RELEASE], served(address)) == ("3", done.release)
    with monkeypatch.context() as away:
        away.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(Outage, match="did not follow"):
            rollback(RELEASE, shop.uri)
    assert served(address) == done.release
    assert export_version(f"{RELEASE}@champion", shop.uri, address) == shop.published[1].release
    assert broken(f"{RELEASE}@champion", shop.uri) == []
