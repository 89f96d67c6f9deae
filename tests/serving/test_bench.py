"""The bench measures what it says, and a long load mixes up and loses nothing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from components.cohort.phantom.dataset import make_cohort
from components.cohort.phantom.settings import PhantomSettings
from components.cohort.phantom.sites import site_named
from components.release.inference.request import request_tensors
from serving.bench.ensemble import bench_ensemble, timed_requests
from serving.bench.layouts import bench_layouts
from serving.bench.load import (
    ANSWERED,
    BUSY,
    agree,
    bench_load,
    image_question,
    offer,
    prepared_question,
)
from serving.bench.networks import bench_networks
from serving.bench.transport import bench_transport
from serving.client.client import Client
from serving.client.glioflow_client import ImagesClient
from serving.triton.server import LocalServer
from tests.serving.images import AGE, nifti_files
from tests.serving.shop import Shop

SOAK_MINUTES = float(os.environ.get("GLIOFLOW_SOAK_MINUTES", "30"))
MEMORY_GROWTH = 1.10


def patients(shop: Shop, seeds: Sequence[int] = (1, 2, 3)) -> list[dict[str, np.ndarray]]:
    return [request_tensors(shop.case(seed), shop.release.contents) for seed in seeds]


def test_the_ensemble_is_timed_beside_its_parts(shop: Shop) -> None:
    rows = bench_ensemble(shop.release.folder, patients(shop)[0], requests=3, concurrency=(1, 2))
    assert [(row["what"], row["at_once"]) for row in rows] == [
        ("the parts, in process", 1),
        ("Triton ensemble", 1),
        ("Triton ensemble", 2),
    ]
    assert rows[0]["ratio"] == 1.0
    assert all(row["p95_ms"] >= row["p50_ms"] > 0.0 for row in rows)


def test_images_are_sent_or_shared(shop: Shop) -> None:
    """What goes through the loopback is not asserted: other tests send at the same time."""
    rows = bench_transport(shop.release.folder, patients(shop)[0], requests=2)
    ways = [(row["request"], row["images"]) for row in rows]
    kinds = ("whole", "refused at once")
    assert ways == [(kind, images) for kind in kinds for images in ("sent", "shared")]
    assert [rows[0]["ratio"], rows[2]["ratio"]] == [1.0, 1.0]
    assert all(row["p50_ms"] > 0.0 for row in rows)


@pytest.mark.slow
def test_layouts_serve_the_same_release(shop: Shop) -> None:
    layouts = ((1, 1), (1, 2))
    rows = bench_layouts(shop.release.folder, patients(shop)[0], requests=3, layouts=layouts)
    assert [(row["threads"], row["copies"]) for row in rows] == list(layouts)
    assert rows[1]["memory_mib"] > rows[0]["memory_mib"]


@pytest.mark.slow
def test_runtimes_of_the_segmenter_agree(shop: Shop) -> None:
    rows = bench_networks(
        shop.release.folder, shop.segmenter, patients(shop)[0], threads=1, rounds=2
    )
    assert [row["runtime"] for row in rows] == ["ONNX Runtime", "torch, eager", "torch, compiled"]
    assert all(row["failed"] or row["largest_difference"] < 1e-3 for row in rows)
    assert not rows[0]["failed"] and not rows[1]["failed"]


def test_answers_to_different_patients_do_not_agree(shop: Shop, client: Client) -> None:
    first, second = (client.ask(tensors) for tensors in patients(shop, (1, 2)))
    assert agree(first, first)
    assert not agree(first, second)


def test_overload_is_refused_as_busy_and_nothing_is_lost(shop: Shop, server: LocalServer) -> None:
    rows = bench_load(server, patients(shop), seconds=4.0, shares=(0.5, 6.0))
    easy, hard = rows
    assert easy["answered"] == easy["sent"]
    assert hard["answered"] + hard["busy"] == hard["sent"]
    assert hard["busy"] > 0
    assert hard["wrong_or_failed"] == easy["wrong_or_failed"] == 0


@pytest.mark.slow
@pytest.mark.timeout(SOAK_MINUTES * 120.0 + 900.0)
def test_half_an_hour_of_changing_load(
    quick_shop: Shop, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Prepared tensors and image files at rates from half to four times what the server can do.

    Each answer is its own patient's, and a refusal says that the server is busy.
    """
    settings = PhantomSettings(resolution_mm=2.0)
    manifest = make_cohort(site_named("severance"), 2, 3, tmp_path, settings)
    folders = [manifest.parent / f"severance-000{number}" for number in (1, 2)]
    repository = quick_shop.release.folder
    tensors = [request_tensors(quick_shop.case(seed), quick_shop.release.contents)
               for seed in (1, 2, 3)]  # fmt: skip
    with (
        LocalServer(repository) as server,
        Client(server.grpc_address) as client,
        ImagesClient(server.grpc_address) as asking,
        ThreadPoolExecutor(2) as pool,
    ):
        kinds = (
            [prepared_question(client, each) for each in tensors],
            [image_question(asking, nifti_files(folder), AGE) for folder in folders],
        )
        able = [
            timed_requests(lambda: client.ask(tensors[0]), requests=32, at_once=4).per_s,
            timed_requests(
                lambda: asking.predict(age=AGE, **nifti_files(folders[0])), requests=4, at_once=2
            ).per_s,
        ]
        seconds = SOAK_MINUTES * 60.0 / 15
        memory: list[float] = []
        outcomes: Counter[str] = Counter()
        for number in range(15):
            share = (0.5, 1.0, 4.0)[number % 3]
            jobs = [
                pool.submit(offer, client, kind, rate_per_s=share * rate, seconds=seconds)
                for kind, rate in zip(kinds, able, strict=True)
            ]
            for name, job in zip(("prepared", "images"), jobs, strict=True):
                told = job.result().outcomes
                outcomes.update({f"{name} {outcome}": count for outcome, count in told.items()})
            memory.append(server.memory_mib())
    record_property("outcomes", dict(outcomes))
    record_property("memory_mib", [round(mib) for mib in memory])
    record_property("offered_per_s", [round(rate, 3) for rate in able])
    assert {name.partition(" ")[2] for name in outcomes} == {ANSWERED, BUSY}
    assert np.mean(memory[-3:]) <= MEMORY_GROWTH * np.mean(memory[3:6])
