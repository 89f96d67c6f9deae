"""How fast the segmenter trains and predicts on this machine, and whether the loader keeps up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from components.core.device import choose_device, processor_name
from components.segment.data.sampling import (
    MemberCases,
    TrainingSet,
    development_cases,
    plan_segmenter_members,
    sample_keys,
    sample_stream,
)
from components.segment.network.loss import DeepSupervision
from components.segment.network.unet import UNet, parameter_count
from components.segment.settings import Precision, SegmentSettings
from components.segment.training.member import training_batch
from components.segment.training.state import at_once


@dataclass(frozen=True)
class BenchRow:
    """One measurement. `unit` is volumes/s, s, MiB, ratio or parameters."""

    what: str
    value: float
    unit: str
    hardware: str
    settings: str


class Bench:
    """Training steps of one network, timed with the device's work waited for."""

    def __init__(self, settings: SegmentSettings, member: MemberCases, steps: int) -> None:
        self.settings, self.member, self.steps = settings, member, steps
        self.device = choose_device(settings.device, "segment.device")
        self.loss = DeepSupervision(settings.batch_dice)

    def resident(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One prepared batch that never leaves the device."""
        return cycle([next(self.loaded())])

    def loaded(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches as training sees them: read, moved, augmented."""
        settings = self.settings
        keys = sample_keys(settings, self.member.index, 0)
        dataset = TrainingSet(self.member, settings)
        stream = sample_stream(dataset, keys, settings, pin=self.device.type == "cuda")
        while True:
            samples = [next(stream) for _ in range(settings.batch_size)]
            yield training_batch(samples, settings, self.device)

    def train(self, network: nn.Module, batches: Iterator[tuple[Tensor, Tensor]]) -> float:
        """Volumes per second of forward, backward and optimiser steps."""
        network = network.to(self.device, memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        enabled = self.settings.precision is Precision.BFLOAT16
        size = at_once(self.settings, self.device, self.settings.batch_size)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            for x, target in zip(*(part.split(size) for part in next(batches)), strict=True):
                with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled):
                    outputs = network(x)
                self.loss(as_list(outputs), target).backward()
            optimizer.step()

        return self.steps * self.settings.batch_size / self._time(step)

    def predict(self, network: nn.Module, x: Tensor) -> float:
        """Volumes per second of forward passes on one volume [1, channel, z, y, x]."""
        network = network.to(self.device, memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]
        with torch.inference_mode():
            return self.steps / self._time(lambda: network(x))

    def _time(self, work: Callable[[], object]) -> float:
        for _ in range(2):
            work()
        self._finish()
        started = time.perf_counter()
        for _ in range(self.steps):
            work()
        self._finish()
        return time.perf_counter() - started

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def as_list(outputs: Tensor | list[Tensor]) -> list[Tensor]:
    """Logits of all heads, finest first; DynUNet stacks its own, upsampled, along axis 1."""
    if isinstance(outputs, list):
        return outputs
    return list(outputs.unbind(1)) if outputs.dim() == 6 else [outputs]


def equal_dynunet(channels: int, levels: int, parameters: int, size: tuple[int, ...]) -> DynUNet:
    """MONAI's residual DynUNet with the width whose size comes closest to `parameters`.

    Args:
        size: voxels (z, y, x) of its input; an axis is halved as often as it can be.
    """
    strides: list[list[int]] = [[1, 1, 1]]
    left = list(size)
    for _ in range(levels - 1):
        strides.append([2 if length % 2 == 0 else 1 for length in left])
        left = [length // stride for length, stride in zip(left, strides[-1], strict=True)]

    def build(width: int) -> DynUNet:
        kernels = [3] * levels
        return DynUNet(
            3,
            channels,
            1,
            kernels,
            strides,
            strides[1:],
            filters=[width * 2**i for i in range(levels)],
            deep_supervision=True,
            deep_supr_num=min(2, levels - 2),
            res_block=True,
        )

    widths = range(2, 65)
    with torch.device("meta"):
        nearest = min(widths, key=lambda w: abs(parameter_count(build(w)) - parameters))
    return build(nearest)


def hardware_name(device: torch.device) -> str:
    """What the measurement ran on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()}, {torch.get_num_threads()} threads"


def bench_segmenter(
    prepared: Path, settings: SegmentSettings, *, steps: int = 10
) -> list[dict[str, Any]]:
    """Measure training and inference on the cases of a prepared set.

    Returns rows {"what", "value", "unit", "hardware", "settings"}: parameters; training volumes/s
    with a batch already on the device, with the real loader, and the ratio of the two; seconds per
    1,000 training volumes; the same for MONAI's DynUNet of equal size; inference volumes/s; on CUDA
    also peak memory and the compiled network.

    Raises BadInput: as `development_cases` and `plan_segmenter_members`.
    """
    cases = development_cases([prepared], settings)
    settings = settings.model_copy(update={"steps": 10 * steps})
    bench = Bench(settings, plan_segmenter_members(cases)[0], steps)
    label = f"{settings.network.model_dump_json()}, batch {settings.batch_size}"
    size = settings.crop or cases[0].grid.shape
    label += f", {'x'.join(map(str, size))}, {settings.precision.value}"
    hardware = hardware_name(bench.device)
    rows: list[BenchRow] = []

    def note(what: str, value: float, unit: str) -> None:
        rows.append(BenchRow(what, value, unit, hardware, label))

    network = UNet(len(settings.inputs), settings.network)
    count = parameter_count(network)
    note("parameters", count, "parameters")
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    resident = bench.train(network, bench.resident())
    if bench.device.type == "cuda":
        note("peak memory", torch.cuda.max_memory_allocated(bench.device) / 2**20, "MiB")
        compiled = bench.train(torch.compile(network), bench.resident())  # type: ignore[arg-type]
        note("training, compiled, batch on the device", compiled, "volumes/s")
    loaded = bench.train(network, bench.loaded())
    note("training, batch on the device", resident, "volumes/s")
    note("training, real loader", loaded, "volumes/s")
    note("loader ratio", loaded / resident, "ratio")
    note("training, real loader, 1,000 volumes", 1000.0 / loaded, "s")
    x, _ = next(bench.loaded())
    note("inference", bench.predict(network, x[:1]), "volumes/s")
    rival = equal_dynunet(len(settings.inputs), settings.network.levels, count, size)
    note("DynUNet parameters", parameter_count(rival), "parameters")
    note("DynUNet training, batch on the device", bench.train(rival, bench.resident()), "volumes/s")
    note("DynUNet inference", bench.predict(rival, x[:1]), "volumes/s")
    return [asdict(row) for row in rows]
