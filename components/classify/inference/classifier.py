"""The trained classifier: the one way from samples to a probability, in training and serving."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.classify.data.selection import Selection
from components.classify.inference.calibration import Calibrator
from components.classify.inference.conformal import ConformalCalibration
from components.classify.inference.uncertainty import Reference, rms_distance
from components.classify.network.resnet import Hybrid
from components.classify.settings import ResNetSettings
from components.core.errors import BadInput
from components.core.files import read_json, sha256_file
from components.core.vocabulary import FEATURE_NAMES, SLICE_OFFSETS, Origin, Sequence
from components.training.weights import load_tensors, unprefixed

MODEL_FILE, FOREST_FILE, AGE_FILE = "model.json", "forest.json", "age.json"
REMEDY = "train again, or fetch the model folder again"
SLICES = len(SLICE_OFFSETS)


@dataclass(frozen=True)
class ClassifierOutput:
    """Answers for B patients.

    Attributes:
        probability: float32 [B], of IDH mutation: the mean over slices and networks.
        slice_probability: float32 [B, 5].
        uncertainty: float32 [B]; see `rms_distance`.
        ood: float32 [B], distance to the training patients; 1 is the 95th percentile of held-out
            patients.
    """

    probability: np.ndarray
    slice_probability: np.ndarray
    uncertainty: np.ndarray
    ood: np.ndarray


class Ensemble(nn.Module):
    """All hybrids of a model and what turns their outputs into answers.

    Inputs: images float32 [B, 5, 3, N, N], features float32 [B, 24] raw. Outputs: probability [B],
    slice_probability [B, 5], uncertainty [B], ood [B].
    """

    def __init__(
        self,
        networks: list[Hybrid],
        references: list[Reference],
        calibrator: Calibrator,
        ood_scale: float,
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.calibrator, self.ood_scale = calibrator, ood_scale
        for index, reference in enumerate(references):
            self.register_buffer(f"mean_{index}", reference.mean)
            self.register_buffer(f"precision_{index}", reference.precision)

    def forward(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See the class."""
        flat = images.flatten(0, 1)
        rows = features.repeat_interleave(SLICES, dim=0)
        probabilities, distances = [], []
        for index, network in enumerate(self.networks):
            logits, penultimate, _ = network(flat, rows)
            margin = logits[:, 1] - logits[:, 0]
            calibrated = margin / self.calibrator.temperature + self.calibrator.shift
            probabilities.append(torch.sigmoid(calibrated).reshape(-1, SLICES))
            inner = penultimate.reshape(-1, SLICES, penultimate.shape[1]).mean(dim=1)
            reference = Reference(
                getattr(self, f"mean_{index}"), getattr(self, f"precision_{index}")
            )
            distances.append(reference.distance(inner))
        stack = torch.stack(probabilities)
        slice_probability = stack.mean(dim=0)
        ood = torch.stack(distances).mean(dim=0) / self.ood_scale
        return slice_probability.mean(dim=1), slice_probability, rms_distance(stack), ood


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
        channels: the two sequences of the image, in channel order.
        grid: side of the image in pixels.
        abstain_above: uncertainty above which a patient is not answered.
        ood_limit: `ood` above which a patient is not answered.
        conformal: what its sets are made from; None where it was trained to make none.
        trained_on: phantoms or patients.
        ensemble: its networks.
        description: model.json.
    """

    channels: tuple[Sequence, Sequence]
    grid: int
    abstain_above: float
    ood_limit: float
    conformal: ConformalCalibration | None
    trained_on: Origin
    ensemble: Ensemble = field(repr=False)
    description: dict[str, Any] = field(repr=False)

    @classmethod
    def load(cls, folder: Path | str) -> Classifier:
        """Read a model folder as `train_classifiers` writes it.

        Raises BadInput: not a model folder, or a file missing, truncated or altered.
        """
        folder = Path(folder)
        try:
            content = read_json(folder / MODEL_FILE)
            settings = ResNetSettings.model_validate(content["architecture"]["network"])
            first, second = (Sequence(name) for name in content["channels"])
            networks: list[Hybrid] = []
            references: list[Reference] = []
            for member in content["members"]:
                found = load_hybrids(folder, member, settings, content["seeds"])
                networks += found[0]
                references += found[1]
            calibrator = Calibrator(content["temperature"], content["shift"])
            ensemble = Ensemble(networks, references, calibrator, content["ood"]["scale"]).eval()
            return cls(
                channels=(first, second),
                grid=content["grid"],
                abstain_above=content["abstention"]["threshold"],
                ood_limit=content["ood"]["limit"],
                conformal=_conformal(content),
                trained_on=Origin(content["trained_on"]),
                ensemble=ensemble,
                description=content,
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise BadInput(
                folder / MODEL_FILE, f"not a classifier's description ({error})", REMEDY
            ) from None

    def predict(self, images: np.ndarray, features: np.ndarray) -> ClassifierOutput:
        """Answer for B patients at once.

        Args:
            images: float32 [B, 5, 3, y, x] as `feature_slice_step` makes them, channels in the
                order of `channels` and then the mask.
            features: [B, 24] in the order of FEATURE_NAMES, raw.

        Raises:
            BadInput: another shape, NaN (an unknown age), or an empty tumour mask.
        """
        check_inputs(images, features, self.grid)
        with torch.inference_mode():
            found = self.ensemble(
                torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)),
                torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)),
            )
        return ClassifierOutput(*(tensor.numpy() for tensor in found))


def _conformal(content: dict[str, Any]) -> ConformalCalibration | None:
    found = content.get("conformal")
    return None if found is None else ConformalCalibration.model_validate(found)


def check_inputs(images: np.ndarray, features: np.ndarray, grid: int) -> None:
    """Refuse what a classifier must never be asked. Raises BadInput."""
    if images.ndim != 5 or images.shape[1:] != (SLICES, 3, grid, grid):
        raise BadInput(
            "images", f"shape {images.shape}", f"give [patients, {SLICES}, 3, {grid}, {grid}]"
        )
    if features.shape != (len(images), len(FEATURE_NAMES)):
        raise BadInput(
            "features", f"shape {features.shape}", f"give [patients, {len(FEATURE_NAMES)}]"
        )
    bad = [n for n, good in zip(FEATURE_NAMES, np.isfinite(features).all(axis=0), strict=True)
           if not good]  # fmt: skip
    if bad:
        raise BadInput("features", f"{', '.join(bad)} not a finite number", "give every feature")
    if not np.isfinite(images).all():
        raise BadInput("images", "NaN or infinite values", "prepare the patient again")
    if not (images[:, :, 2] > 0).any(axis=(1, 2, 3)).all():
        raise BadInput("images", "an empty tumour mask", "no_tumor is an answer: ask no classifier")


def load_hybrids(
    folder: Path, member: dict[str, Any], settings: ResNetSettings, seeds: list[int]
) -> tuple[list[Hybrid], list[Reference]]:
    """One member's networks in evaluation mode. Raises BadInput when a file was altered."""
    entry = member["hybrid"]
    path = folder / entry["file"]
    tensors, _ = load_tensors(path, remedy=REMEDY)
    if sha256_file(path) != entry["sha256"]:
        raise BadInput(path, "its bytes are not those that model.json names", REMEDY)
    selection = selection_of(member["features"])
    networks, references = [], []
    for seed in seeds:
        own = unprefixed(f"seed_{seed}", tensors)
        network = Hybrid(settings, selection)
        network.load_state_dict(unprefixed("network", own))
        networks.append(network.eval())
        references.append(Reference(own["ood_mean"], own["ood_precision"]))
    return networks, references


def selection_of(features: dict[str, Any]) -> Selection:
    """A member's selection from model.json."""
    indices = np.array([FEATURE_NAMES.index(name) for name in features["kept"]], dtype=int)
    p_values = np.array([features["p_values"][name] for name in FEATURE_NAMES])
    return Selection(indices, p_values, np.array(features["mean"]), np.array(features["sd"]))
