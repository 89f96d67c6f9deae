"""The training of one member: steps, moving average, held-out Dice, checkpoints, resume."""

from __future__ import annotations

import contextlib
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
from components.core.progress import Progress
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
from components.segment.training.journal import (
    Journal,
    SegmenterCurvePoint,
    at_once,
    learning_rate,
    run_digest,
)
from components.segment.training.processes import Process
from components.training.checkpoint import require_same
from components.training.weights import load_tensors, save_tensors

log = logging.getLogger(__name__)

LAST, BEST = "last.safetensors", "best.safetensors"
MONITOR_THRESHOLD = 0.5
"""Probability cut while training; the deployed threshold is chosen afterwards."""


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
        self.architecture = architecture_of(len(settings.inputs), settings.network)
        self.identity = {
            "architecture": self.architecture,
            "run": run_digest(member, settings),
        }
        torch.manual_seed(settings.seed * 1000 + member.index)
        network = UNet(len(settings.inputs), settings.network)
        self.network = network.to(self.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = {name: t.clone() for name, t in self._state().items()}
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.loss = DeepSupervision(settings.batch_dice)
        self.journal = Journal()

    def _state(self) -> dict[str, Tensor]:
        """Parameters and running statistics by name; changing them changes the network."""
        return {name: tensor.detach() for name, tensor in self.network.state_dict().items()}

    def resume(self) -> None:
        """Take up the last checkpoint, if there is one.

        Raises:
            BadInput: it is truncated, or of another architecture, settings or cases.
        """
        path = self.folder / LAST
        if not path.exists():
            return
        remedy = "delete this file to start the member again, or choose another output folder"
        tensors, found = load_tensors(path, remedy=remedy)
        require_same(path, found, self.identity, remedy=remedy)
        self.journal = Journal(**found["journal"])
        with torch.no_grad():
            for name, tensor in self._state().items():
                tensor.copy_(tensors[f"network.{name}"])
                self.average[name].copy_(tensors[f"average.{name}"])
            for name, parameter in self.network.named_parameters():
                if f"moment1.{name}" in tensors:
                    # The fused optimiser walks memory: its moments must be laid out as the weights.
                    self.optimizer.state[parameter] = {
                        "step": torch.tensor(float(self.journal.step), device=self.device),
                        "exp_avg": torch.empty_like(parameter).copy_(tensors[f"moment1.{name}"]),
                        "exp_avg_sq": torch.empty_like(parameter).copy_(tensors[f"moment2.{name}"]),
                    }
        log.info("member %d resumes at step %d", self.member.index, self.journal.step)

    def save(self) -> None:
        """Write the last checkpoint, from which `resume` continues exactly."""
        if not self.process.leads:
            return
        tensors: dict[str, Tensor] = {}
        for name, tensor in self._state().items():
            tensors[f"network.{name}"] = tensor
            tensors[f"average.{name}"] = self.average[name]
        for name, parameter in self.network.named_parameters():
            state = self.optimizer.state.get(parameter)
            if state:
                tensors[f"moment1.{name}"] = state["exp_avg"]
                tensors[f"moment2.{name}"] = state["exp_avg_sq"]
        description = {**self.identity, "journal": asdict(self.journal)}
        save_tensors(self.folder / LAST, tensors, description)

    def save_weights(self, path: Path) -> None:
        """Write the averaged weights alone, as inference loads them."""
        if self.process.leads:
            description = {**self.identity, "step": self.journal.step}
            save_tensors(path, self.average, description)

    def run(self, progress: Progress | None = None) -> None:
        """Train from where the last checkpoint stands to the end.

        Raises:
            BadInput: a loss that is not finite (naming the patients; the last checkpoint stays),
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

    def _steps(self, progress: Progress | None) -> None:
        settings, journal = self.settings, self.journal
        trained = self.process.wrap(self._compiled())
        process = self.process
        keys = sample_keys(settings, self.member.index, journal.step, process.rank, process.world)
        pin = self.device.type == "cuda"
        stream = sample_stream(self.dataset, keys, settings, pin=pin)
        what = f"segmenter {self.member.index + 1}/{settings.folds}"
        started = time.monotonic() - journal.seconds
        while journal.step < settings.steps and not journal.finished:
            share = settings.batch_size // process.world
            self._step(trained, [next(stream) for _ in range(share)])
            journal.step += 1
            journal.seconds = time.monotonic() - started
            if self._is_due(settings.evaluate_every):
                self._evaluate()
            if self._is_due(settings.checkpoint_every):
                self.save()
            if progress:
                progress(journal.step, settings.steps, what)

    def _is_due(self, every: int) -> bool:
        last = self.journal.step == self.settings.steps or self.journal.finished
        return last or (every > 0 and self.journal.step % every == 0)

    def _compiled(self) -> nn.Module:
        if self.settings.compile and self.device.type == "cuda":
            return torch.compile(self.network)  # type: ignore[return-value]
        return self.network

    def _step(self, trained: nn.Module, samples: list[Sample]) -> None:
        settings, journal = self.settings, self.journal
        self.network.train()
        rate = learning_rate(journal.step, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
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
        norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip_norm))
        if not (math.isfinite(total) and math.isfinite(norm)):
            self._refuse(samples, total)
        self.optimizer.step()
        self._update_average()
        journal.loss_sum += total
        journal.norm_sum += norm
        journal.summed += 1

    def _loss(self, trained: nn.Module, samples: list[Sample]) -> Tensor:
        pairs = [self._prepare(sample) for sample in samples]
        x, target = (torch.stack(parts) for parts in zip(*pairs, strict=True))
        torch.manual_seed(samples[0].key.torch_seed())
        with self._autocast():
            outputs = trained(x)
        return self.loss(outputs, target)

    def _prepare(self, sample: Sample) -> tuple[Tensor, Tensor]:
        settings = self.settings
        drawn = draw_volume(sample.key.rng(1), settings.augmentation, settings.inputs)
        volumes = sample.volumes.to(self.device, non_blocking=True)
        masks = sample.masks.to(self.device, non_blocking=True)
        size = settings.crop or tuple(volumes.shape[1:])
        return augment_volume(volumes, masks, sample.centre, size, drawn, settings.clip)

    def _autocast(self) -> torch.autocast:
        enabled = self.settings.precision is Precision.BFLOAT16
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _refuse(self, samples: list[Sample], loss: float) -> None:
        patients = ", ".join(sample.patient_id for sample in samples)
        raise BadInput(
            f"training batch of patients {patients}",
            f"loss {loss} or its gradient is not finite at step {self.journal.step}",
            "look at these patients' images, or lower segment.learning_rate; "
            "the last good checkpoint is kept",
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.settings.ema_decay, (1.0 + self.journal.step) / (10.0 + self.journal.step))
        averages = list(self.average.values())
        torch._foreach_lerp_(averages, list(self._state().values()), 1.0 - decay)

    def _evaluate(self) -> None:
        settings, journal = self.settings, self.journal
        value = self.process.agree(self.held_out_dice())
        journal.points.append(
            asdict(
                SegmenterCurvePoint(
                    member=self.member.index,
                    step=journal.step,
                    learning_rate=learning_rate(journal.step - 1, settings),
                    loss=journal.loss_sum / max(journal.summed, 1),
                    gradient_norm=journal.norm_sum / max(journal.summed, 1),
                    seconds=round(journal.seconds, 2),
                    tuning_dice=value,
                )
            )
        )
        journal.loss_sum = journal.norm_sum = 0.0
        journal.summed = 0
        log.info("member %d step %d: Dice %.4f", self.member.index, journal.step, value)
        if settings.folds > 1:
            return
        if value > journal.best_dice:
            journal.best_dice, journal.best_step, journal.stale = value, journal.step, 0
            self.save_weights(self.folder / BEST)
        else:
            journal.stale += 1
            journal.finished = 0 < settings.patience <= journal.stale

    @torch.no_grad()
    def held_out_dice(self) -> float:
        """Mean Dice of the averaged weights on the held-out cases, on the network grid."""
        current = {name: tensor.clone() for name, tensor in self._state().items()}
        self._put(self.average)
        self.network.eval()
        values = []
        for case in self.member.held_out:
            volumes = channels(case, self.settings.inputs).float().to(self.device)
            brain = torch.from_numpy(case.brain).to(self.device)
            with self._autocast():
                map_ = probability_map(
                    self.network, volumes, brain, self.settings.clip, flips=False
                )
            mask = (map_ >= MONITOR_THRESHOLD).cpu().numpy()
            assert case.tumor is not None
            values.append(dice(mask, case.tumor))
        self._put(current)
        return float(np.mean(values))

    @torch.no_grad()
    def _put(self, state: dict[str, Tensor]) -> None:
        for name, tensor in self._state().items():
            tensor.copy_(state[name])
