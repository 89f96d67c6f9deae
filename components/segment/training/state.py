"""State of a member's training: its step, curve and best weights, as checkpoints keep them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from components.segment.data.sampling import MemberCases
from components.segment.settings import Norm, SegmentSettings
from components.training.checkpoint import digest
from components.training.schedule import half_cosine
from components.training.state import TrainingState


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
class MemberState(TrainingState):
    """State of a member, in steps, scored by the tuning Dice; sums since the last curve point."""

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
    return settings.learning_rate * half_cosine(done)


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
    return digest([decisive, member.index, trained, held_out, plan])
