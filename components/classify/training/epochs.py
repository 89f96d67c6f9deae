"""One stage of training one network: epochs, early stop, checkpoints, resume."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.classify.data.augmentation import augment_slices, draw_slices, jitter
from components.classify.data.samples import Samples
from components.classify.data.slices import PatientSlices
from components.classify.settings import ClassifySettings, StageSettings
from components.training.checkpoint import Checkpoint, digest
from components.training.schedule import half_cosine, set_learning_rate
from components.training.state import TrainingState

log = logging.getLogger(__name__)

WARM_UP = 0.05
"""Share of the steps over which the learning rate rises to its full value."""


@dataclass(frozen=True)
class Patients:
    """Patients on a device, row by row.

    Attributes:
        images: their slices.
        features: float32 [n, 24], raw.
        idh: int64 [n].
        grade, codeletion: float32 [n], NaN where unknown.
    """

    images: PatientSlices
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
            PatientSlices(samples, rows, device),
            put(samples.features[rows], torch.float32),
            put(np.nan_to_num(samples.idh[rows], nan=-1.0), torch.int64),
            put(samples.grade[rows], torch.float32),
            put(samples.codeletion[rows], torch.float32),
        )

    @property
    def slices(self) -> int:
        """Slices of a patient."""
        return self.images.samples.slices

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
        run = digest([name, identity, stage.model_dump(), seed, _decisive(settings)])
        self.checkpoint = Checkpoint(folder / f"{name}.safetensors", {"run": run}, restarts=True)
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=stage.learning_rate, weight_decay=stage.weight_decay
        )
        self.state = TrainingState()
        self.best: dict[str, Tensor] = {}
        self.spread = training.features.std(dim=0)
        counts = torch.bincount(training.idh, minlength=2).float()
        even = counts.sum() / (2.0 * counts)
        self.class_weight = even if settings.balance else torch.ones_like(even)

    def run(self, report: Callable[[int, str], None] | None = None) -> list[dict[str, Any]]:
        """Train to the end, continuing from this stage's checkpoint if there is one.

        On return the network holds the weights to keep: of the epoch with the lowest tuning loss,
        or the last. Returns the learning curve.
        """
        self._resume()
        state = self.state
        while not state.finished:
            self._epoch()
            if report:
                report(state.done, self.name)
            if state.finished or state.done % self.settings.checkpoint_every == 0:
                self.checkpoint.save(self.network, self.optimizer, self.best, state)
        if self.best:
            self.network.load_state_dict(self.best)
        self.network.eval()
        return state.points

    def _epoch(self) -> None:
        start, epoch = time.perf_counter(), self.state.done
        chance = int(digest([self.name, self.seed, epoch])[:12], 16)
        generator = torch.Generator().manual_seed(chance)
        # Dropout draws from the global generator.
        torch.manual_seed(chance + 1)
        slices = self.training.slices
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
        self.state.points.append(
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
        self._end_epoch(tuning)

    def _rate(self, done: float) -> float:
        rise = min(1.0, done / WARM_UP + 0.01)
        return self.stage.learning_rate * rise * half_cosine(done)

    def _step(self, batch: Tensor, rate: float, generator: torch.Generator) -> float:
        set_learning_rate(self.optimizer, rate)
        data, device = self.training, self.training.images.device
        drawn = draw_slices(self.settings.augmentation, len(batch), generator)
        chosen = data.images.gather(batch // data.slices, batch % data.slices)
        images = augment_slices(chosen, drawn)
        patient = (batch // data.slices).to(device)
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

    def _end_epoch(self, tuning: float | None) -> None:
        state = self.state
        state.done += 1
        if tuning is not None and state.record(-tuning, self.stage.patience):
            self.best = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        state.finished = state.finished or state.done >= self.stage.epochs

    def _resume(self) -> None:
        found = self.checkpoint.restore(self.network, self.optimizer)
        if found is None:
            return
        self.state = TrainingState(**found[0])
        device = self.training.images.device
        self.best = {name: tensor.to(device) for name, tensor in found[1].items()}
        log.info("%s: continues after epoch %d", self.name, self.state.done)


def margins(network: nn.Module, patients: Patients, batch: int = 16) -> Tensor:
    """Logit of mutant minus logit of wildtype for each slice: float32 [n, slices]."""
    return outputs(network, patients.images, patients.features, batch)[0]


def outputs(
    network: nn.Module, images: Tensor | PatientSlices, features: Tensor, batch: int = 16
) -> tuple[Tensor, Tensor]:
    """Margins [n, slices] and penultimate features, averaged over the slices, [n, d].

    Args:
        images: [n, slices, 3, y, x]; features: [n, 24].
        batch: patients at a time.
    """
    network.eval()
    found, inner = [], []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            slices = part.shape[1]
            rows = features[start : start + batch].repeat_interleave(slices, dim=0)
            logits, penultimate, _ = network(part.flatten(0, 1), rows)
            found.append((logits[:, 1] - logits[:, 0]).unflatten(0, (-1, slices)))
            inner.append(penultimate.unflatten(0, (-1, slices)).mean(dim=1))
    return torch.cat(found), torch.cat(inner)


def _decisive(settings: ClassifySettings) -> dict[str, Any]:
    names = ("network", "augmentation", "auxiliary", "batch_size", "balance", "label_smoothing")
    return settings.model_dump(mode="json", include=set(names))
