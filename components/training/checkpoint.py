"""Checkpoints: the file from which an interrupted training continues with the same bytes."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from components.core.errors import BadInput
from components.training.state import TrainingState
from components.training.weights import load_tensors, prefixed, save_tensors, unprefixed

log = logging.getLogger(__name__)

CHECKPOINT_FORMAT = 2
"""Names of the tensors and of the state in a checkpoint; raised when they change."""


def digest(parts: Any) -> str:
    """sha256 (hex) of JSON content, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def require_same(path: Path, found: dict[str, Any], wanted: dict[str, Any], *, remedy: str) -> None:
    """Compare the identifying entries of a checkpoint with those expected.

    Raises BadInput: naming the first entry that differs, and both values.
    """
    for name, value in wanted.items():
        if found.get(name) != value:
            raise BadInput(path, f"its {name} is {found.get(name)}, this run's is {value}", remedy)


@dataclass(frozen=True)
class Checkpoint:
    """Where one network's training is kept, and which run it belongs to.

    Attributes:
        identity: JSON content that another run's checkpoint differs in.
        restarts: another run's checkpoint is logged and ignored; otherwise it is refused.
    """

    path: Path
    identity: dict[str, Any]
    restarts: bool = False

    def save(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        kept: dict[str, Tensor],
        state: TrainingState,
    ) -> None:
        """Write weights, optimiser, state and the tensors to be kept beside the current weights.

        Raises BadInput: the disk is full; the checkpoint before stays.
        """
        tensors = prefixed("network", network.state_dict()) | prefixed("kept", kept)
        tensors |= prefixed("optimizer", optimizer_tensors(network, optimizer))
        save_tensors(self.path, tensors, {**self._wanted, "state": asdict(state)})

    def restore(
        self, network: nn.Module, optimizer: Optimizer
    ) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Put weights and optimiser back; returns the state (JSON) and the kept tensors (CPU).

        None where there is no checkpoint, or one of another run that is ignored.

        Raises BadInput: a truncated checkpoint, or one of another run or format.
        """
        if not self.path.is_file():
            return None
        remedy = "delete this file to train anew, or choose another output folder"
        tensors, found = load_tensors(self.path, remedy=remedy)
        try:
            require_same(self.path, found, self._wanted, remedy=remedy)
        except BadInput as error:
            if not self.restarts:
                raise
            log.info("%s: %s; training starts anew", self.path, error.problem)
            return None
        network.load_state_dict(unprefixed("network", tensors))
        restore_optimizer(network, optimizer, unprefixed("optimizer", tensors))
        return found["state"], unprefixed("kept", tensors)

    @property
    def _wanted(self) -> dict[str, Any]:
        return {"format": CHECKPOINT_FORMAT, **self.identity}


def optimizer_tensors(network: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """State of each parameter of `network` that has one: "<parameter>.<entry>"."""
    return {
        f"{name}.{entry}": tensor
        for name, parameter in network.named_parameters()
        for entry, tensor in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(network: nn.Module, optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took; parameters without an entry begin anew.

    Moments take the memory layout of their parameter, which a fused optimiser relies on.
    """
    fused = bool(optimizer.defaults.get("fused"))
    for name, parameter in network.named_parameters():
        entries = unprefixed(name, tensors)
        if not entries:
            continue
        step = entries.pop("step")
        optimizer.state[parameter] = {
            "step": step.to(parameter.device) if fused else step,
            **{entry: torch.empty_like(parameter).copy_(t) for entry, t in entries.items()},
        }
