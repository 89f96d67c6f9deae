"""Where networks compute: the setting of a profile, and the device that answers to it."""

from __future__ import annotations

import os
from enum import StrEnum
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
