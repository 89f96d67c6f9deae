"""Where the hybrid looks: gradient saliency of each sequence, and Grad-CAM (both by captum)."""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from components.classify.data.augmentation import SEQUENCES
from components.classify.inference.classifier import Classifier, check_inputs
from components.classify.network.resnet import Hybrid

SMALLEST_MAP = 6
"""Grad-CAM reads the deepest layer whose map has at least so many pixels a side."""

RIM_SHARE = 3 / 128
"""Width of the tumour's margin to either side of the outline, as a share of the image's side."""


@dataclass(frozen=True)
class Explanation:
    """What moved the answers for B patients.

    Attributes:
        saliency: float32 [B, 5, 2, y, x]; how strongly the log-odds of IDH mutation react to each
            pixel of the first and the second sequence (absolute gradient), as a share of the slice:
            both maps of a slice add up to 1, or are 0 where nothing reacts. 0 outside the brain.
        grad_cam: float32 [B, 5, y, x]; evidence for the call that was made, of both sequences and
            the mask together, 1 at the patient's strongest place. 0 outside the brain.
    """

    saliency: np.ndarray
    grad_cam: np.ndarray


def explain(classifier: Classifier, images: np.ndarray, features: np.ndarray) -> Explanation:
    """Explain the answers of `Classifier.predict` to the same inputs.

    Raises BadInput: see `Classifier.predict`.
    """
    check_inputs(images, features, classifier.grid)
    networks = [network for network in classifier.ensemble.networks if isinstance(network, Hybrid)]
    return explain_networks(networks, images, features)


def explain_networks(
    networks: Ordered[nn.Module], images: np.ndarray, features: np.ndarray
) -> Explanation:
    """The same for the mean log-odds of any networks of `network.Hybrid`'s kind.

    Args:
        networks: in evaluation mode.
        images: [B, n, 3, y, x] in [0, 1], exactly 0 outside the brain; features: [B, 24] raw.
    """
    count = images.shape[1]
    device = next(networks[0].parameters()).device
    flat = torch.from_numpy(np.ascontiguousarray(images, np.float32)).to(device).flatten(0, 1)
    rows = torch.from_numpy(np.ascontiguousarray(features, np.float32)).to(device)
    rows = rows.repeat_interleave(count, dim=0)
    brain = (flat[:, :SEQUENCES].amax(dim=1, keepdim=True) > 0).float()
    margin = _MeanMargin(networks)
    with torch.no_grad():
        call = margin(flat, rows).unflatten(0, (-1, count)).mean(dim=1).sign()
    saliency = (_gradient(margin, flat, rows) * brain).unflatten(0, (-1, count))
    grad_cam = _grad_cam(networks, flat, rows, call.repeat_interleave(count)) * brain
    grad_cam = grad_cam.unflatten(0, (-1, count))[:, :, 0]
    return Explanation(
        _scaled(saliency, saliency.sum(dim=(2, 3, 4), keepdim=True)),
        _scaled(grad_cam, grad_cam.amax(dim=(1, 2, 3), keepdim=True)),
    )


def saliency_shares(saliency: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Shares of each map by part of the brain: float64 [c, 3] in the order of SALIENCY_PARTS.

    An empty map is NaN.

    Args:
        saliency: [5, c, y, x] of one patient; mask: [5, y, x], its tumour.
    """
    tumor = np.asarray(mask) > 0.5
    across = np.zeros((3, 3, 3), bool)
    across[1] = ndimage.generate_binary_structure(2, 1)
    width = max(1, round(RIM_SHARE * tumor.shape[-1]))
    rim = ndimage.binary_dilation(tumor, across, width) & ~ndimage.binary_erosion(
        tumor, across, width
    )
    parts = np.stack([tumor & ~rim, rim, ~tumor & ~rim]).astype(np.float64)
    found = np.einsum("scyx,psyx->cp", saliency.astype(np.float64), parts)
    total = found.sum(axis=1, keepdims=True)
    return np.divide(found, total, out=np.full_like(found, np.nan), where=total > 0)


class _MeanMargin(nn.Module):
    """Images [n, 3, y, x] and features [n, 24] -> mean log-odds of the networks [n]."""

    def __init__(self, networks: Ordered[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor, features: Tensor, sign: Tensor | None = None) -> Tensor:
        logits = torch.stack([network(images, features)[0] for network in self.networks])
        margin = (logits[..., 1] - logits[..., 0]).mean(dim=0)
        return margin if sign is None else margin * sign


def _gradient(margin: _MeanMargin, images: Tensor, features: Tensor) -> Tensor:
    """[n, 2, y, x], absolute."""
    from captum.attr import Saliency

    inputs = images.clone().requires_grad_()
    found = Saliency(margin).attribute(inputs, additional_forward_args=(features,))
    return found[:, :SEQUENCES].detach()


def _grad_cam(
    networks: Ordered[nn.Module], images: Tensor, features: Tensor, sign: Tensor
) -> Tensor:
    """[n, 1, y, x], not negative: the sum over the networks."""
    from captum.attr import LayerGradCam

    total = torch.zeros_like(images[:, :1])
    inputs = images.clone().requires_grad_()
    for network in networks:
        single = _MeanMargin([network])
        found = LayerGradCam(single, _layer(network, images.shape[-1])).attribute(
            inputs, additional_forward_args=(features, sign), relu_attributions=True
        )
        total += F.interpolate(
            found.detach(), images.shape[-2:], mode="bilinear", align_corners=False
        )
    return total


def _layer(network: nn.Module, side: int) -> nn.Module:
    """The deepest part of the image branch whose map is not too coarse for `side` pixels."""
    parts = list(network.image.parts)  # type: ignore[union-attr,arg-type]
    sides = [side // 2, *(side // 2 // 2**i for i in range(len(parts) - 1))]
    fine = [part for part, pixels in zip(parts, sides, strict=True) if pixels >= SMALLEST_MAP]
    return (fine or parts[:1])[-1]


def _scaled(maps: Tensor, whole: Tensor) -> np.ndarray:
    safe = torch.where(whole > 0, whole, torch.ones_like(whole))
    return (maps / safe).float().cpu().numpy()
