"""torchrun inside a pod, and on two nodes: what several processes train is what one trains."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from components.core.device import Device
from components.segment.inference.segmenter import Segmenter
from components.segment.settings import Precision, SegmentSettings, UNetSettings
from components.segment.training.launch import processes_for, train_here
from components.segment.training.train import train_segmenter
from tests.factories import make_prepared_set

TINY = SegmentSettings(
    network=UNetSettings(width=4, levels=3, dropout=0.2),
    precision=Precision.FLOAT32,
    crop=(16, 16, 16),
    batch_size=4,
    steps=4,
    evaluate_every=0,
    learning_rate=3e-3,
    threads=1,
)


@pytest.mark.parametrize(
    ("gpus", "batch", "processes"),
    [(0, 4, 1), (1, 4, 1), (2, 4, 2), (3, 4, 2), (8, 4, 4), (4, 3, 3), (2, 3, 1)],
)
def test_as_many_processes_as_the_batch_divides_over(
    gpus: int, batch: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    settings = TINY.model_copy(update={"batch_size": batch})
    assert processes_for(settings) == processes
    assert processes_for(settings.model_copy(update={"device": Device.CPU})) == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes_for(settings) == 1, "torchrun has started this process already"


def _same(one: Path, other: Path) -> None:
    first, second = (Segmenter.load(folder).networks[0].state_dict() for folder in (one, other))
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=2e-5, rtol=1e-3)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return make_prepared_set(tmp_path / "prepared", 6)


@pytest.mark.slow
def test_two_processes_in_one_pod(tmp_path: Path, prepared: Path) -> None:
    train_segmenter([prepared], TINY, tmp_path / "one")
    train_here([prepared], TINY, tmp_path / "two", checkpoints=tmp_path / "kept", processes=2)
    _same(tmp_path / "one", tmp_path / "two")
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.slow
def test_a_process_that_fails_fails_the_step(tmp_path: Path, prepared: Path) -> None:
    settings = TINY.model_copy(update={"batch_size": 3})
    with pytest.raises(RuntimeError, match="torchrun ended with code"):
        train_here([prepared], settings, tmp_path / "out", processes=2)


@pytest.mark.slow
def test_two_nodes_as_kubeflows_trainer_starts_them(tmp_path: Path, prepared: Path) -> None:
    """By the environment that the Trainer's torch policy gives each pod."""
    train_segmenter([prepared], TINY, tmp_path / "one")
    (tmp_path / "settings.json").write_text(TINY.model_dump_json())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "-m",
        "components.segment.training.launch",
    ]
    command += ["--prepared", str(prepared), "--settings", str(tmp_path / "settings.json")]
    command += ["--out", str(tmp_path / "two")]
    shared = {
        "PET_NNODES": "2",
        "PET_NPROC_PER_NODE": "1",
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": port,
    }
    nodes = [
        subprocess.Popen(command, env={**os.environ, **shared, "PET_NODE_RANK": str(rank)})
        for rank in range(2)
    ]
    try:
        assert [node.wait(300) for node in nodes] == [0, 0]
    finally:
        for node in nodes:
            node.kill()
    _same(tmp_path / "one", tmp_path / "two")
