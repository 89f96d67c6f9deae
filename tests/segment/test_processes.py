"""A training process that is alone, and one whose share of the batch is no whole number."""

from __future__ import annotations

import pytest
import torch

from components.core.device import Device
from components.core.errors import BadInput
from components.segment.settings import SegmentSettings
from components.segment.training.processes import Process, joined

SETTINGS = SegmentSettings(batch_size=4, device=Device.CPU)


def test_alone_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    network = torch.nn.Linear(1, 1)
    with joined(SETTINGS) as process:
        assert process == Process(0, 1, torch.device("cpu"))
        assert process.leads
        assert process.wrap(network) is network
        assert process.agree(0.1) == 0.1
        process.wait()
    assert not torch.distributed.is_initialized()


def test_a_batch_that_does_not_divide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(BadInput) as caught, joined(SETTINGS):
        pass
    assert caught.value.subject == "segment.batch_size = 4"
