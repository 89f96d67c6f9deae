"""Weights and training state on disk: one safetensors file each, whole or absent.

The JSON that belongs to the tensors (step, curves, what they were trained on) travels in the file's
own header, so that the two can never disagree.
"""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from components.core.errors import BadInput
from components.core.files import atomic

_HEADER = "glioflow"


def save_tensors(path: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write tensors and their JSON description atomically; the file before stays if this fails.

    Raises BadInput: the disk is full.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {_HEADER: json.dumps(description, sort_keys=True, allow_nan=False)}
    try:
        with atomic(path) as temporary:
            save_file(plain, temporary, metadata=header)
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error):
            raise BadInput(
                path.parent,
                "no space left on the disk",
                "free some and run again: training continues from the last checkpoint",
            ) from None
        raise


def load_tensors(path: Path, *, remedy: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote: tensors on the CPU, and their description.

    Raises BadInput: missing, truncated, or not one of our files.
    """
    if not path.is_file():
        raise BadInput(path, "no such file", remedy)
    try:
        with safe_open(path, framework="pt") as stream:
            description = json.loads((stream.metadata() or {})[_HEADER])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise BadInput(path, f"not a whole checkpoint ({error})", remedy) from None
    return tensors, description


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under names that start with `prefix` and a dot."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def unprefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of the tensors whose names start with `prefix` and a dot, without it."""
    start = f"{prefix}."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}
