"""One release after another on a running server, under load: no request fails, none is mixed up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from components.core.errors import BadInput
from components.release.inference.local_release import LocalRelease
from components.release.inference.request import request_tensors
from pipelines import cli
from serving.client.client import Client
from serving.triton.server import LocalServer
from serving.triton.server_folder import Store
from tests.serving.shop import Shop, altered

PATIENTS = (1, 2, 3)


class Load:
    """Threads that ask all the time, without retries, and compare each answer with its release's.

    Attributes:
        releases: release ids in the order in which they first answered.
        answers: answers compared.
        wrong: what was not as expected.
    """

    def __init__(self, shop: Shop, repositories: list[Path], address: str) -> None:
        self.address, self.answers = address, 0
        self.releases: list[str] = []
        self.wrong: list[str] = []
        self.tensors = {
            seed: request_tensors(shop.case(seed), shop.release.contents) for seed in PATIENTS
        }
        self.expected = {
            (release.release.release, seed): release.ask(tensors)
            for release in map(LocalRelease, repositories)
            for seed, tensors in self.tensors.items()
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(seed, stop)) for seed in PATIENTS]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _ask(self, seed: int, stop: threading.Event) -> None:
        # A deadline shorter than the first pause leaves no room for a second try.
        with Client(self.address) as client:
            client.patiently = lambda call, _=None: call(120.0)  # type: ignore[method-assign]
            while not stop.is_set():
                try:
                    answer = client.ask(self.tensors[seed], request_id=f"load-{seed}")
                except Exception as error:
                    self.wrong.append(f"patient {seed}: {error}")
                    continue
                expected = self.expected[answer.release, seed]
                if not (
                    answer.slices == expected.slices
                    and np.array_equal(answer.mask, expected.mask)
                    and answer.probability == pytest.approx(expected.probability, abs=1e-4)
                ):
                    self.wrong.append(f"patient {seed}: another answer")
                self.answers += 1
                if answer.release not in self.releases:
                    self.releases.append(answer.release)


@pytest.mark.slow
def test_deploying_rolling_back_and_a_corrupt_release_under_load(
    shop: Shop, server: LocalServer, tmp_path: Path
) -> None:
    first = shop.release.release
    other = altered(shop.release, tmp_path / "other", threshold=0.9)
    corrupt = altered(shop.release, tmp_path / "corrupt", segmenter=b"not a network")
    load = Load(shop, [shop.release.folder, other.folder], server.grpc_address)
    assert load.expected[first, 1].tumor_ml != load.expected[other.release, 1].tumor_ml
    store = ["--store", str(server.store.folder)]
    with load.running():
        assert cli.run(["deploy", str(other.folder), *store]) == 0
        server.follow_store()
        assert server.release == other.release
        assert cli.run(["deploy", str(corrupt.folder), *store]) == 0
        server.follow_store()
        assert (server.release, server.store.history()[-1]) == (other.release, other.release)
        with Client(server.grpc_address) as client:
            assert client.canary() is None
        server.store.make_live(server.store.add(shop.release.folder))
        server.follow_store()
        assert server.release == first
        assert cli.run(["deploy", "--previous", *store]) == 0
        server.follow_store()
        assert server.release == other.release
        server.store.make_live(server.store.add(shop.release.folder))
        server.follow_store()
    assert load.wrong == []
    assert load.releases[:2] == [first, other.release]
    assert load.answers > 5
    with Client(server.grpc_address) as client:
        loaded = {
            m.name for m in client.raw.get_model_repository_index().models if m.state == "READY"
        }
    assert not any(name.endswith(other.suffix) for name in loaded), "the old models are gone"
    assert (
        cli.run(["deploy", str(shop.release.folder), *store, "--server", server.grpc_address]) == 0
    )


def test_nothing_to_go_back_to(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        Store(tmp_path / "store").previous()
    assert cli.run(["deploy", "--previous", "--store", str(tmp_path / "store")]) == 2
    assert cli.run(["deploy", "--store", str(tmp_path / "store")]) == 2
