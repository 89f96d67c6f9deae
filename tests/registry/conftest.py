"""One published store for the whole module, and cheap copies of it to tamper with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.registry.publish import publish_run
from components.registry.settings import PublishSettings
from tests.registry.fabricated_run import fabricate
from tests.registry.servers import (
    Servers,
    free_port,
    mlflow_on_postgres_and_s3,
    postgres_binaries,
)
from tests.registry.shop import Shop


@pytest.fixture(scope="session")
def cold_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised, empty store: MLflow's migrations take seconds, a copy takes none."""
    from components.registry.tracking.store import connect

    root = tmp_path_factory.mktemp("cold")
    connect(PublishSettings(tracking_uri=f"sqlite:///{root}/mlflow/mlflow.db"))
    return root


@pytest.fixture
def empty(tmp_path: Path, cold_store: Path) -> PublishSettings:
    """Settings of an empty store of one's own."""
    shutil.copytree(cold_store, tmp_path / "shop")
    uri = f"sqlite:///{tmp_path}/shop/mlflow/mlflow.db"
    return PublishSettings(tracking_uri=uri, attempts=1, patience_s=0)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """MLflow on PostgreSQL and S3, for the whole session. The client gets no S3 keys."""
    if postgres_binaries() is None:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql to run this test")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name, raising=False)
        root = tmp_path_factory.mktemp("server")
        with mlflow_on_postgres_and_s3(root, free_port()) as running:
            yield running


@pytest.fixture(params=["sqlite", pytest.param("server", marks=pytest.mark.slow)])
def anywhere(request: pytest.FixtureRequest) -> PublishSettings:
    """Settings of an empty store, once on SQLite with a folder, once on PostgreSQL with S3."""
    if request.param == "sqlite":
        settings: PublishSettings = request.getfixturevalue("empty")
        return settings
    running: Servers = request.getfixturevalue("servers")
    running.wipe()
    return PublishSettings(tracking_uri=running.uri, attempts=1, patience_s=0)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, cold_store: Path) -> Shop:
    """A store with two releases, the second of which is champion. Only to be read."""
    root = tmp_path_factory.mktemp("shop") / "shop"
    shutil.copytree(cold_store, root)
    runs = (fabricate(root / "first", seed=0), fabricate(root / "second", seed=3, skill=2.7))
    made = Shop(root, runs, ())
    return Shop(root, runs, tuple(publish_run(run, made.settings) for run in runs))


@pytest.fixture
def tampered(tmp_path: Path, shop: Shop) -> Callable[[], Shop]:
    """A copy of the shop that a test may break: paths in its database point to the copy."""

    def copy() -> Shop:
        root = tmp_path / "copy"
        shutil.copytree(shop.root, root)
        mine = Shop(root, shop.runs, shop.published)
        old, new = str(shop.root), str(root)
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
            ("model_versions", "storage_location"),
        ):
            mine.sql(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?) WHERE {column} != ''",
                old,
                new,
            )
        return mine

    return copy
