"""One stage of training one network: epochs, early stop, checkpoints, resume."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.classify.data.augmentation import augment_slices, draw_slices, jitter
from components.classify.data.samples import Samples
from components.classify.settings import ClassifySettings, StageSettings
from components.training.weights import load_tensors, prefixed, save_tensors, unprefixed

log = logging.getLogger(__name__)

WARM_UP = 0.05
"""Share of the steps over which the learning rate rises to its full value."""


@dataclass(frozen=True)
class Patients:
    """Patients on a device, row by row.

    Attributes:
        images: float32 [n, slices, 3, y, x].
        features: float32 [n, 24], raw.
        idh: int64 [n].
        grade, codeletion: float32 [n], NaN where unknown.
    """

    images: Tensor
    features: Tensor
    idh: Tensor
    grade: Tensor
    codeletion: Tensor

    @classmethod
    def of(cls, samples: Samples, rows: np.ndarray, device: torch.device) -> Patients:
        """Load rows of a samples folder."""

        def put(array: np.ndarray, dtype: torch.dtype) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device, dtype)

        return cls(
            put(samples.images(rows), torch.float32),
            put(samples.features[rows], torch.float32),
            put(np.nan_to_num(samples.idh[rows], nan=-1.0), torch.int64),
            put(samples.grade[rows], torch.float32),
            put(samples.codeletion[rows], torch.float32),
        )

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class ClassifierCurvePoint:
    """One row of curves.csv: one epoch of one stage; losses in nats a slice or patient."""

    network: str
    epoch: int
    learning_rate: float
    loss: float
    tuning_loss: float | None
    seconds: float


@dataclass
class _Journal:
    """What a resumed stage must remember beside its tensors."""

    epoch: int = 0
    best_loss: float | None = None
    best_epoch: int = 0
    finished: bool = False
    points: list[dict[str, Any]] = field(default_factory=list)


class StageTraining:
    """Trains one network for one stage; every random number is a function of seed and epoch.

    Args:
        name: of the network, e.g. "hybrid_0_1" for member 0, seed 1.
        network: with the weights it starts from; its trainable parameters are changed.
        training, tuning: patients; tuning None for cross-validation.
        stage, settings: see ClassifySettings.
        seed: of this network.
        identity: digest of what the stage depends on besides its settings.
        folder: where its checkpoint is kept.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        training: Patients,
        tuning: Patients | None,
        stage: StageSettings,
        settings: ClassifySettings,
        seed: int,
        identity: str,
        folder: Path,
    ) -> None:
        self.name, self.network = name, network
        self.training, self.tuning = training, tuning
        self.stage, self.settings, self.seed = stage, settings, seed
        self.path = folder / f"{name}.safetensors"
        self.identity = _digest([name, identity, stage.model_dump(), seed, _dials(settings)])
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=stage.learning_rate, weight_decay=stage.weight_decay
        )
        self.journal = _Journal()
        self.best: dict[str, Tensor] = {}
        self.spread = training.features.std(dim=0)
        counts = torch.bincount(training.idh, minlength=2).float()
        even = counts.sum() / (2.0 * counts)
        self.class_weight = even if settings.balance else torch.ones_like(even)

    def run(self, report: Callable[[int, str], None] | None = None) -> list[ClassifierCurvePoint]:
        """Train to the end, continuing from this stage's checkpoint if there is one.

        On return the network holds the weights to keep: of the epoch with the lowest tuning loss,
        or the last. Returns the learning curve.
        """
        self._resume()
        while not self.journal.finished:
            self._epoch()
            journal = self.journal
            if report:
                report(journal.epoch, self.name)
            if journal.finished or journal.epoch % self.settings.checkpoint_every == 0:
                self._save()
        if self.best:
            self.network.load_state_dict(self.best)
        self.network.eval()
        return [ClassifierCurvePoint(**point) for point in self.journal.points]

    def _epoch(self) -> None:
        start, epoch = time.perf_counter(), self.journal.epoch
        chance = int(_digest([self.name, self.seed, epoch])[:12], 16)
        generator = torch.Generator().manual_seed(chance)
        # Dropout draws from the global generator.
        torch.manual_seed(chance + 1)
        slices = self.training.images.shape[1]
        order = torch.randperm(len(self.training) * slices, generator=generator)
        batches = list(order.split(self.settings.batch_size))
        if len(batches) > 1 and len(batches[-1]) < 2:
            # Batch normalisation has no variance over one slice.
            batches[-2:] = [torch.cat(batches[-2:])]
        self.network.train()
        total, rate = 0.0, 0.0
        for number, batch in enumerate(batches):
            rate = self._rate((epoch + number / len(batches)) / self.stage.epochs)
            total += self._step(batch, rate, generator)
        tuning = None if self.tuning is None else self._tuning_loss(self.tuning)
        self.journal.points.append(
            asdict(
                ClassifierCurvePoint(
                    self.name,
                    epoch,
                    rate,
                    total / len(batches),
                    tuning,
                    round(time.perf_counter() - start, 3),
                )
            )
        )
        self._judge(tuning)

    def _rate(self, done: float) -> float:
        rise = min(1.0, done / WARM_UP + 0.01)
        return self.stage.learning_rate * rise * 0.5 * (1.0 + math.cos(math.pi * done))

    def _step(self, batch: Tensor, rate: float, generator: torch.Generator) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        data, device = self.training, self.training.images.device
        drawn = draw_slices(self.settings.augmentation, len(batch), generator)
        slices = data.images.shape[1]
        patient = (batch // slices).to(device)
        images = augment_slices(data.images[patient, (batch % slices).to(device)], drawn)
        features = jitter(data.features[patient], self.spread, drawn)
        logits, _, auxiliary = self.network(images, features)
        loss = F.cross_entropy(
            logits,
            data.idh[patient],
            weight=self.class_weight,
            label_smoothing=self.settings.label_smoothing,
        )
        loss = loss + self._auxiliary_loss(auxiliary, data, patient)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 5.0)
        self.optimizer.step()
        return float(loss.detach())

    def _auxiliary_loss(self, auxiliary: Tensor, data: Patients, patient: Tensor) -> Tensor:
        weights = self.settings.auxiliary
        loss = auxiliary.new_zeros(())
        grade, codeletion = data.grade[patient], data.codeletion[patient]
        known = torch.isfinite(grade)
        if weights.grade and known.any():
            loss = loss + weights.grade * F.mse_loss(auxiliary[known, 0], grade[known] - 3.0)
        known = torch.isfinite(codeletion)
        if weights.codeletion and known.any():
            loss = loss + weights.codeletion * F.binary_cross_entropy_with_logits(
                auxiliary[known, 1], codeletion[known]
            )
        return loss

    def _tuning_loss(self, tuning: Patients) -> float:
        """Log loss of the patients' mean probabilities, each class counting the same."""
        probability = torch.sigmoid(margins(self.network, tuning)).mean(dim=1)
        right = torch.where(tuning.idh == 1, probability, 1.0 - probability).clamp(min=1e-6)
        per_class = [-right[tuning.idh == label].log().mean() for label in (0, 1)]
        return float(torch.stack(per_class).mean())

    def _judge(self, tuning: float | None) -> None:
        journal = self.journal
        journal.epoch += 1
        if tuning is not None and (journal.best_loss is None or tuning < journal.best_loss):
            journal.best_loss, journal.best_epoch = tuning, journal.epoch
            self.best = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        stale = journal.epoch - journal.best_epoch
        tired = tuning is not None and 0 < self.stage.patience <= stale
        journal.finished = tired or journal.epoch >= self.stage.epochs

    def _save(self) -> None:
        tensors = prefixed("now", self.network.state_dict()) | prefixed("best", self.best)
        for index, parameter in enumerate(self.parameters):
            state = self.optimizer.state[parameter]
            tensors |= prefixed(f"optimizer.{index}", dict(state))
        save_tensors(self.path, tensors, {"identity": self.identity, "journal": vars(self.journal)})

    def _resume(self) -> None:
        if not self.path.is_file():
            return
        tensors, found = load_tensors(self.path, remedy="delete it to start anew")
        if found.get("identity") != self.identity:
            log.info("%s: its checkpoint is of another run, starting anew", self.name)
            return
        self.journal = _Journal(**found["journal"])
        self.network.load_state_dict(unprefixed("now", tensors))
        device = self.training.images.device
        self.best = {k: v.to(device) for k, v in unprefixed("best", tensors).items()}
        for index, parameter in enumerate(self.parameters):
            state = unprefixed(f"optimizer.{index}", tensors)
            self.optimizer.state[parameter] = {
                name: value if name == "step" else value.to(device) for name, value in state.items()
            }
        log.info("%s: continues after epoch %d", self.name, self.journal.epoch)


def margins(network: nn.Module, patients: Patients, batch: int = 16) -> Tensor:
    """Logit of mutant minus logit of wildtype for each slice: float32 [n, slices]."""
    return outputs(network, patients.images, patients.features, batch)[0]


def outputs(
    network: nn.Module, images: Tensor, features: Tensor, batch: int = 16
) -> tuple[Tensor, Tensor]:
    """Margins [n, slices] and penultimate features, averaged over the slices, [n, d].

    Args:
        images: [n, slices, 3, y, x]; features: [n, 24].
        batch: patients at a time.
    """
    network.eval()
    slices = images.shape[1]
    found, inner = [], []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            rows = features[start : start + batch].repeat_interleave(slices, dim=0)
            logits, penultimate, _ = network(part.flatten(0, 1), rows)
            found.append((logits[:, 1] - logits[:, 0]).unflatten(0, (-1, slices)))
            inner.append(penultimate.unflatten(0, (-1, slices)).mean(dim=1))
    return torch.cat(found), torch.cat(inner)


def _dials(settings: ClassifySettings) -> dict[str, Any]:
    names = ("network", "augmentation", "auxiliary", "batch_size", "balance", "label_smoothing")
    return settings.model_dump(mode="json", include=set(names))


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
