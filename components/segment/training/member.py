"""The training of one member: steps, moving average, held-out Dice, checkpoints, resume."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from components.core.errors import BadInput
from components.core.imaging.overlap import dice
from components.core.progress import Progress, silent
from components.segment.data.augmentation import augment_volume, draw_volume
from components.segment.data.sampling import (
    MemberCases,
    Sample,
    TrainingSet,
    channels,
    sample_keys,
    sample_stream,
)
from components.segment.inference.segmenter import architecture_of, probability_map
from components.segment.network.loss import DeepSupervision
from components.segment.network.unet import UNet
from components.segment.settings import Precision, SegmentSettings
from components.segment.training.processes import Process
from components.segment.training.state import (
    MemberState,
    SegmenterCurvePoint,
    at_once,
    learning_rate,
    run_digest,
)
from components.training.checkpoint import Checkpoint
from components.training.schedule import set_learning_rate
from components.training.weights import save_tensors

log = logging.getLogger(__name__)

LAST, BEST = "last.safetensors", "best.safetensors"
CLIP_NORM = 1.0
"""Largest norm of the gradient."""

MONITOR_THRESHOLD = 0.5
"""Probability cut while training; the deployed threshold is chosen afterwards."""

MONITORED = 200
"""Held-out cases at most that an evaluation during training looks at."""


def training_batch(
    samples: list[Sample], settings: SegmentSettings, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Augmented network inputs [sample, channel, z, y, x] and targets on the device."""
    pairs = []
    for sample in samples:
        drawn = draw_volume(sample.key.rng(1), settings.augmentation, settings.inputs)
        volumes = sample.volumes.to(device, non_blocking=True)
        masks = sample.masks.to(device, non_blocking=True)
        size = settings.crop or tuple(volumes.shape[1:])
        pairs.append(augment_volume(volumes, masks, sample.centre, size, drawn))
    x, target = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    return x, target


class MemberTraining:
    """Trains one member; every random number is a function of (seed, member, step, sample).

    Args:
        dataset: samples by `Key`; those of the member's training cases by default.
    """

    def __init__(
        self,
        member: MemberCases,
        settings: SegmentSettings,
        process: Process,
        folder: Path,
        dataset: Dataset[Sample] | None = None,
    ) -> None:
        self.member, self.settings, self.process = member, settings, process
        self.dataset = dataset or TrainingSet(member, settings)
        self.folder = folder / member.name
        self.device = process.device
        architecture = architecture_of(len(settings.inputs), settings.network)
        identity = {"architecture": architecture, "run": run_digest(member, settings)}
        self.checkpoint = Checkpoint(self.folder / LAST, identity)
        torch.manual_seed(settings.seed * 1000 + member.index)
        network = UNet(len(settings.inputs), settings.network)
        self.network = network.to(self.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.loss = DeepSupervision(settings.batch_dice)
        self.state = MemberState()

    def resume(self) -> None:
        """Continue from the last checkpoint, if there is one.

        Raises BadInput: it is truncated, or of another architecture, settings or cases.
        """
        found = self.checkpoint.restore(self.network, self.optimizer)
        if found is None:
            return
        self.state = MemberState(**found[0])
        self.average.load_state_dict(found[1])
        log.info("member %d resumes at step %d", self.member.index, self.state.done)

    def save(self) -> None:
        """Write the last checkpoint, from which `resume` continues exactly."""
        if self.process.leads:
            kept = self.average.state_dict()
            self.checkpoint.save(self.network, self.optimizer, kept, self.state)

    def save_weights(self, path: Path) -> None:
        """Write the averaged weights alone, as inference loads them."""
        if self.process.leads:
            description = {**self.checkpoint.identity, "step": self.state.done}
            save_tensors(path, self.average.state_dict(), description)

    def run(self, progress: Progress = silent) -> None:
        """Train from where the last checkpoint stands to the end.

        Raises BadInput: a loss that is not finite (naming the patients; the last checkpoint stays),
        no memory left on the device, no space left on the disk.
        """
        self.resume()
        try:
            self._steps(progress)
        except torch.OutOfMemoryError:
            raise BadInput(
                f"segment.batch_size = {self.settings.batch_size}",
                "the device has no memory left for it",
                "lower segment.batch_size, segment.crop or segment.network.width",
            ) from None

    def _steps(self, progress: Progress) -> None:
        settings, state = self.settings, self.state
        trained = self.process.wrap(self._compiled())
        process = self.process
        keys = sample_keys(settings, self.member.index, state.done, process.rank, process.world)
        pin = self.device.type == "cuda"
        stream = sample_stream(self.dataset, keys, settings, pin=pin)
        what = f"segmenter {self.member.index + 1}"
        started = time.monotonic() - state.seconds
        while state.done < settings.steps and not state.finished:
            share = settings.batch_size // process.world
            self._step(trained, [next(stream) for _ in range(share)])
            state.done += 1
            state.seconds = time.monotonic() - started
            if self._is_due(settings.evaluate_every):
                self._evaluate()
            if self._is_due(settings.checkpoint_every):
                self.save()
            progress(state.done, settings.steps, what)

    def _is_due(self, every: int) -> bool:
        last = self.state.done == self.settings.steps or self.state.finished
        return last or (every > 0 and self.state.done % every == 0)

    def _compiled(self) -> nn.Module:
        if self.settings.compile and self.device.type == "cuda":
            return torch.compile(self.network)  # type: ignore[return-value]
        return self.network

    def _step(self, trained: nn.Module, samples: list[Sample]) -> None:
        settings, state = self.settings, self.state
        self.network.train()
        set_learning_rate(self.optimizer, learning_rate(state.done, settings))
        self.optimizer.zero_grad(set_to_none=True)
        size = at_once(settings, self.device, len(samples))
        parts = [samples[i : i + size] for i in range(0, len(samples), size)]
        total = 0.0
        for index, part in enumerate(parts):
            held = index < len(parts) - 1 and isinstance(trained, DistributedDataParallel)
            with trained.no_sync() if held else contextlib.nullcontext():  # type: ignore[operator]
                loss = self._loss(trained, part) / len(parts)
                loss.backward()
            total += float(loss.detach())
        norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM))
        if not (math.isfinite(total) and math.isfinite(norm)):
            self._refuse(samples, total)
        self.optimizer.step()
        self._update_average()
        state.loss_sum += total
        state.norm_sum += norm
        state.summed += 1

    def _loss(self, trained: nn.Module, samples: list[Sample]) -> Tensor:
        x, target = training_batch(samples, self.settings, self.device)
        torch.manual_seed(samples[0].key.torch_seed())
        with self._autocast():
            outputs = trained(x)
        return self.loss(outputs, target)

    def _autocast(self) -> torch.autocast:
        enabled = self.settings.precision is Precision.BFLOAT16
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _refuse(self, samples: list[Sample], loss: float) -> None:
        patients = ", ".join(sample.patient_id for sample in samples)
        raise BadInput(
            f"training batch of patients {patients}",
            f"loss {loss} or its gradient is not finite at step {self.state.done}",
            "look at these patients' images, or lower segment.learning_rate; "
            "the last good checkpoint is kept",
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.settings.ema_decay, (1.0 + self.state.done) / (10.0 + self.state.done))
        averages, weights = self.average.state_dict(), self.network.state_dict()
        torch._foreach_lerp_(list(averages.values()), list(weights.values()), 1.0 - decay)

    def _evaluate(self) -> None:
        settings, state = self.settings, self.state
        value = self.process.agree(self.held_out_dice())
        state.points.append(
            asdict(
                SegmenterCurvePoint(
                    member=self.member.index,
                    step=state.done,
                    learning_rate=learning_rate(state.done - 1, settings),
                    loss=state.loss_sum / max(state.summed, 1),
                    gradient_norm=state.norm_sum / max(state.summed, 1),
                    seconds=round(state.seconds, 2),
                    tuning_dice=value,
                )
            )
        )
        state.loss_sum = state.norm_sum = 0.0
        state.summed = 0
        log.info("member %d step %d: Dice %.4f", self.member.index, state.done, value)
        if self.member.fold is None and state.record(value, settings.patience):
            self.save_weights(self.folder / BEST)

    @torch.no_grad()
    def held_out_dice(self) -> float:
        """Mean Dice of the averaged weights on held-out cases, on the network grid.

        Of more than MONITORED cases every second, third, ... one is taken, the same ones each time:
        an evaluation then takes as long for a hundred thousand patients as for some hundreds.
        """
        values = []
        held_out = self.member.held_out
        for case in held_out[:: -(-len(held_out) // MONITORED)]:
            volumes = channels(case, self.settings.inputs).float().to(self.device)
            brain = torch.from_numpy(case.brain).to(self.device)
            with self._autocast():
                map_ = probability_map(self.average, volumes, brain, flips=False)
            mask = (map_ >= MONITOR_THRESHOLD).cpu().numpy()
            assert case.tumor is not None
            values.append(dice(mask, case.tumor))
        return float(np.mean(values))
