"""A Triton's folder follows what is served elsewhere: verified, resumed, never half."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import BadInput
from components.core.files import sha256_tree
from components.release import store as depot
from pipelines import cli
from pipelines.fetch import fetch_release, watch
from serving.export import export_release
from serving.triton.server_folder import Store
from tests.serving.shop import SERVING, Shop

ADDRESS = "s3://bucket/served"


@pytest.fixture(scope="module")
def another(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second release, of other settings."""
    folder = tmp_path_factory.mktemp("another") / "repository"
    settings = SERVING.model_copy(update={"classifier_batch": 3})
    export_release(
        shop.segmenter, shop.classifier, shop.plan, folder, profile="other", settings=settings
    )
    return folder


def live(store: Path) -> str:
    """The release that the ensemble's config names."""
    (line,) = [
        line
        for line in (store / "models" / "glioma_idh" / "config.pbtxt").read_text().splitlines()
        if "glioma-idh-" in line
    ]
    return line


def test_a_new_release_becomes_live_and_a_bad_one_does_not(
    shop: Shop, another: Path, s3: Any, tmp_path: Path
) -> None:
    folder, first = tmp_path / "store", shop.release.release
    store, told = Store(folder), []
    with pytest.raises(BadInput, match="no release is served"):
        fetch_release(ADDRESS, store)
    watch(ADDRESS, store, 0.01, told=told.append, rounds=2)
    assert (told, store.history()) == ([], [])
    depot.point(ADDRESS, depot.push(shop.release.folder, ADDRESS))
    watch(ADDRESS, store, 0.01, told=told.append, rounds=2)
    assert told == store.history() == [first]
    assert first in live(folder)
    assert sha256_tree(folder / "releases" / first) == sha256_tree(shop.release.folder)
    second = depot.push(another, ADDRESS)
    depot.point(ADDRESS, second)
    s3.put_object(
        Bucket="bucket", Key=f"served/releases/{second}/segmenter/config.pbtxt", Body=b"x"
    )
    watch(ADDRESS, store, 0.01, told=told.append, rounds=1)
    assert store.history() == [first] and first in live(folder)
    assert not list((folder / "models").glob(f"*{second.rpartition('-')[2]}*"))
    depot.point(ADDRESS, depot.push(another, ADDRESS))
    watch(ADDRESS, store, 0.01, told=told.append, rounds=1)
    assert told == [first, second]
    assert second in live(folder)
    depot.point(ADDRESS, first)
    assert fetch_release(ADDRESS, store) == first
    assert first in live(folder)


def test_the_command_prepares_a_folder_for_triton(shop: Shop, s3: Any, tmp_path: Path) -> None:
    depot.point(ADDRESS, depot.push(shop.release.folder, ADDRESS))
    assert cli.run(["fetch-release", ADDRESS, "--store", str(tmp_path / "models")]) == 0
    models = {path.name for path in (tmp_path / "models" / "models").iterdir()}
    assert len(models) == 9
    assert models >= {"glioma_idh", "glioma_idh_images"}
    kept = tmp_path / "models" / "history.json"
    assert json.loads(kept.read_text()) == [shop.release.release]
    assert cli.run(["fetch-release", "s3://bucket/nothing", "--store", str(tmp_path / "b")]) == 2
