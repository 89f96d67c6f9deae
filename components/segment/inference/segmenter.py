"""The trained segmenter: the one way from z-scores to a tumour mask, in training and serving."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.cohort.prepared import PreparedCase
from components.core.errors import BadInput
from components.core.files import read_json, sha256_file
from components.core.vocabulary import CLIP_SD, Origin, Sequence
from components.segment.data.network_input import field_of_view, network_input
from components.segment.inference.mask import MaskRule
from components.segment.network.unet import UNet
from components.segment.settings import UNetSettings
from components.training.checkpoint import require_same
from components.training.weights import load_tensors

MODEL_FILE = "model.json"
REMEDY = "train again, or fetch the model folder again"


def probability_map(network: UNet, volumes: Tensor, brain: Tensor, *, flips: bool) -> Tensor:
    """Tumour probability [z, y, x] of one network in evaluation mode.

    Args:
        volumes: z-scores [channel, z, y, x] float32.
        brain: bool or 0/1 [z, y, x].
        flips: average with the prediction on the left-right mirror image.
    """
    x = network_input(volumes, field_of_view(volumes, brain[None]))[None]
    probability = torch.sigmoid(network(x).float())
    if flips:
        mirrored = torch.sigmoid(network(x.flip(-1)).float()).flip(-1)
        probability = (probability + mirrored) / 2
    return probability[0, 0]


@dataclass(frozen=True)
class Segmenter:
    """A trained segmenter: one network, or the members of a cross-validation.

    Attributes:
        inputs: sequences, in the order `probability` wants its channels.
        rule: how a probability becomes a mask.
        flips: whether predictions average over the left-right mirror image.
        grid: side of the cubic network grid in voxels.
        trained_on: phantoms or patients.
        plan_digest: sha256 of the preprocessing plan its cases were made with.
        networks: members, in order of the fold that each held out.
        description: model.json.
    """

    inputs: tuple[Sequence, ...]
    rule: MaskRule
    flips: bool
    grid: int
    trained_on: Origin
    plan_digest: str
    networks: tuple[UNet, ...] = field(repr=False)
    description: dict[str, Any] = field(repr=False)

    @classmethod
    def load(cls, folder: Path | str) -> Segmenter:
        """Read a model folder as `train_segmenter` writes it.

        Raises BadInput: not a model folder, a member missing, truncated, altered or of another
        architecture.
        """
        folder = Path(folder)
        try:
            content = read_json(folder / MODEL_FILE)
            architecture = content["architecture"]
            settings = UNetSettings.model_validate(architecture["network"])
            files = [(member["file"], member["sha256"]) for member in content["members"]]
            if content["clip"] != CLIP_SD:
                raise ValueError(f"intensities clipped at {content['clip']}, not {CLIP_SD}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(
                folder / MODEL_FILE, f"not a segmenter's description ({error})", REMEDY
            ) from None
        networks = tuple(
            load_member(folder / name, architecture, settings, digest) for name, digest in files
        )
        return cls(
            inputs=tuple(Sequence(name) for name in content["inputs"]),
            rule=MaskRule(content["threshold"], content["min_ml"], content["doubt"]),
            flips=content["flips"],
            grid=content["grid"],
            trained_on=Origin(content["trained_on"]),
            plan_digest=content["plan_digest"],
            networks=networks,
            description=content,
        )

    def on(self, device: torch.device) -> Segmenter:
        """The same model, its networks moved to a device."""
        return replace(self, networks=tuple(network.to(device) for network in self.networks))

    def probability(
        self, case_volumes: np.ndarray, brain: np.ndarray, member: int | None = None
    ) -> np.ndarray:
        """Tumour probability on the network grid: float32 [z, y, x].

        Args:
            case_volumes: z-scores [channel, z, y, x] in the order of `inputs`.
            brain: bool [z, y, x].
            member: use this member alone (out-of-fold); None averages over all.
        """
        device = next(self.networks[0].parameters()).device
        volumes = torch.from_numpy(np.ascontiguousarray(case_volumes, dtype=np.float32)).to(device)
        inside = torch.from_numpy(np.ascontiguousarray(brain, dtype=np.uint8)).to(device)
        chosen = self.networks if member is None else (self.networks[member],)
        with torch.inference_mode():
            maps = [
                probability_map(network, volumes, inside, flips=self.flips) for network in chosen
            ]
            return torch.stack(maps).mean(dim=0).cpu().numpy()

    def case_probability(self, case: PreparedCase) -> np.ndarray:
        """Probability for a prepared case: out-of-fold for a development case with a fold.

        Raises BadInput: the case lacks a sequence or was prepared by another plan.
        """
        if case.plan_digest != self.plan_digest:
            raise BadInput(
                f"patient {case.patient_id}",
                "prepared by another plan than the segmenter's training cases",
                "prepare the patient with the plan stored with the model",
            )
        volumes = np.stack([case.volume(sequence) for sequence in self.inputs])
        return self.probability(volumes, case.brain, self.member_for(case))

    def member_for(self, case: PreparedCase) -> int | None:
        """The member that has not seen a development case; None when all may predict it."""
        cross_fitted = len(self.networks) > 1 and case.in_development
        return case.fold if cross_fitted else None


def load_member(
    path: Path, architecture: dict[str, Any], settings: UNetSettings, sha256: str | None
) -> UNet:
    """One network in evaluation mode. Raises BadInput as `Segmenter.load` does."""
    tensors, found = load_tensors(path, remedy=REMEDY)
    require_same(path, found, {"architecture": architecture}, remedy=REMEDY)
    if sha256 is not None and sha256_file(path) != sha256:
        raise BadInput(path, "its bytes are not those that model.json names", REMEDY)
    network = UNet(architecture["channels"], settings)
    network.load_state_dict(tensors)
    return network.to(memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]


def architecture_of(channels: int, settings: UNetSettings) -> dict[str, Any]:
    """JSON that names a network's shape; compared before weights are loaded."""
    return {"name": "unet", "channels": channels, "network": json.loads(settings.model_dump_json())}
