"""The machine: where networks compute, its processor's name, its cores."""

from __future__ import annotations

import os
import platform
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.errors import BadInput

if TYPE_CHECKING:
    import torch


class Device(StrEnum):
    """Where to compute; `auto` takes a CUDA GPU when there is one."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def choose_device(wish: Device, field: str) -> torch.device:
    """The device to compute on; of several GPUs that of this process under torchrun.

    Args:
        field: of the profile, for the error.

    Raises:
        BadInput: CUDA was asked for and there is none.
    """
    import torch

    has_cuda = torch.cuda.is_available()
    if wish is Device.CUDA and not has_cuda:
        raise BadInput(f"{field} = cuda", "no CUDA device is visible", "set it to auto")
    if wish is Device.CPU or not has_cuda:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def processor_name() -> str:
    """The CPU's model name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
