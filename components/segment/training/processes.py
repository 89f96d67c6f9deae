"""This process's place in a training run: alone, or one of several started by torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from components.core.device import choose_device
from components.core.errors import BadInput
from components.segment.settings import SegmentSettings


@dataclass(frozen=True)
class Process:
    """Rank among `world` processes, and the device this one computes on."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network, averaging its gradients over all processes when there are several."""
        if self.world == 1:
            return network
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=ids)

    def agree(self, value: float) -> float:
        """The lead's value, on every process: decisions must not differ between them."""
        if self.world == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared.item())

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined(settings: SegmentSettings) -> Iterator[Process]:
    """Join the processes that torchrun started, or stand alone; leave on exit.

    Raises BadInput: the batch does not divide over the processes, or no device as wished.
    """
    device = choose_device(settings.device, "segment.device")
    world = int(os.environ.get("WORLD_SIZE", 1))
    if settings.batch_size % world:
        raise BadInput(
            f"segment.batch_size = {settings.batch_size}",
            f"does not divide over {world} processes",
            "make it a multiple of the number of processes",
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world == 1:
        yield Process(0, 1, device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Process(dist.get_rank(), world, device)
    finally:
        dist.destroy_process_group()
