"""State of a member's training: its step, curve and best weights, as checkpoints keep them."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

import torch

from components.segment.data.sampling import (
    MemberCases,
)
from components.segment.settings import Norm, SegmentSettings


@dataclass(frozen=True)
class SegmenterCurvePoint:
    """One row of curves.csv: means since the row before. `tuning_dice` is on the network grid."""

    member: int
    step: int
    learning_rate: float
    loss: float
    gradient_norm: float
    seconds: float
    tuning_dice: float | None


@dataclass
class Journal:
    """What a resumed run must remember beside its tensors."""

    step: int = 0
    best_dice: float = -1.0
    best_step: int = 0
    stale: int = 0
    finished: bool = False
    points: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: float = 0.0
    norm_sum: float = 0.0
    summed: int = 0
    seconds: float = 0.0


def at_once(settings: SegmentSettings, device: torch.device, samples: int) -> int:
    """How many of a step's samples go through the network together.

    On a CPU it is one: nothing is gained by more, and the caches are small. What is taken over the
    whole batch needs the whole batch.
    """
    whole = settings.network.norm is Norm.BATCH or settings.batch_dice
    return samples if whole or device.type == "cuda" else 1


def learning_rate(step: int, settings: SegmentSettings) -> float:
    """Learning rate of a 0-based step: linear warm-up, then a cosine to zero."""
    warm = settings.warmup * settings.steps
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    done = (step - warm) / max(settings.steps - warm, 1)
    return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


def run_digest(member: MemberCases, settings: SegmentSettings) -> str:
    """sha256 of everything that decides a member's weights: settings, cases, their plan."""
    trained = [case.patient_id for case in member.training]
    held_out = [case.patient_id for case in member.held_out]
    plan = member.held_out[0].plan_digest
    aside = {
        *("workers", "members_at_once", "checkpoint_every", "device"),
        *("min_ml", "doubt", "flips"),
    }
    decisive = settings.model_dump(mode="json", exclude=aside)
    content = json.dumps([decisive, member.index, trained, held_out, plan], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
