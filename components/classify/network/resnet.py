"""ResNet-34 and the hybrid of docs/method.md, with settings for width, depth and pooling."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.classify.data.selection import Selection
from components.classify.settings import Pooling, ResNetSettings

CHANNELS = 3
"""First sequence, second sequence, mask."""

AUXILIARY = 2
"""Further outputs: grade (regression, in grades above 3) and the logit of 1p/19q codeletion."""

PAIR = 2
"""Units that carry one signed number past a ReLU."""

STATISTICS = 6
"""Mean, SD and bright tail of two sequences."""

TAIL = 2.0
"""Sharpness of the bright tail, per SD: log-mean-exp, between the mean (0) and the maximum."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation around an identity (He et al., 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ImageBranch(nn.Module):
    """Images [n, 3, y, x] -> image features [n, `outputs`].

    A 7x7 convolution of stride 2, no max-pooling, four layers of basic blocks, average pooling.
    """

    def __init__(self, settings: ResNetSettings) -> None:
        super().__init__()
        self.pooling = settings.pooling
        widths = [settings.width * 2**i for i in range(4)]
        stem = nn.Sequential(
            nn.Conv2d(CHANNELS, widths[0], 7, 2, 3, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        parts: list[nn.Module] = [stem]
        before = widths[0]
        for number, (width, count) in enumerate(zip(widths, settings.blocks, strict=True)):
            blocks = [BasicBlock(before, width, 2 if number else 1)]
            blocks += [BasicBlock(width, width, 1) for _ in range(count - 1)]
            parts.append(nn.Sequential(*blocks))
            before = width
        self.parts = nn.ModuleList(parts)
        self.statistics = nn.BatchNorm1d(STATISTICS) if settings.statistics else None
        self.outputs = widths[-1] + (STATISTICS if settings.statistics else 0)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(self.feature_map(x), x[:, 2:])
        if self.statistics is None:
            return pooled
        return torch.cat([pooled, self.statistics(tumor_statistics(x))], dim=1)

    def feature_map(self, x: Tensor) -> Tensor:
        """[n, 3, y, x] -> [n, 8 width, y / 16, x / 16]."""
        for part in self.parts:
            x = part(x)
        return x

    def pool(self, maps: Tensor, mask: Tensor) -> Tensor:
        """Average a feature map, inside the mask [n, 1, y, x] where the settings say so."""
        if self.pooling is Pooling.IMAGE:
            return maps.mean(dim=(2, 3))
        # Any mask pixel counts, so that a small tumour keeps its place on the coarse map.
        weight = F.interpolate(mask, maps.shape[-2:], mode="area") + 1e-6
        return (maps * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3))


def tumor_statistics(x: Tensor) -> Tensor:
    """Mean, SD and bright tail of each sequence inside the mask: [n, 3, y, x] -> [n, 6], in SDs.

    The tail is log-mean-exp(TAIL z) / TAIL, a smooth stand-in for a high percentile.
    """
    z, mask = (x[:, :2] - 0.5) * 10.0, x[:, 2:]
    count = mask.sum(dim=(2, 3)) + 1e-6
    mean = (z * mask).sum(dim=(2, 3)) / count
    centred = (z - mean[:, :, None, None]) * mask
    sd = ((centred**2).sum(dim=(2, 3)) / count + 1e-6).sqrt()
    tail = ((TAIL * centred).exp() * mask).sum(dim=(2, 3)) / count
    return torch.cat([mean, sd, (tail + 1e-6).log() / TAIL], dim=1)


class ResNet(nn.Module):
    """The conventional ResNet: the image alone.

    Input: images [n, 3, y, x]; features are taken and ignored, so that both networks are called
    alike. Output: logits [n, 2] (wildtype, mutant), penultimate [n, d], auxiliary [n, 2].
    """

    def __init__(self, settings: ResNetSettings) -> None:
        super().__init__()
        self.image = ImageBranch(settings)
        self.dropout = nn.Dropout(settings.dropout)
        self.classes = nn.Linear(self.image.outputs, 2)
        self.auxiliary = nn.Linear(self.image.outputs, AUXILIARY)

    def forward(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        penultimate = self.image(images)
        dropped = self.dropout(penultimate)
        return self.classes(dropped), penultimate, self.auxiliary(dropped)


class Hybrid(nn.Module):
    """Image branch -> 8, joined by the selected, standardised features -> 8 -> 2 classes.

    Input: images [n, 3, y, x]; features [n, 24] raw: selection and standardisation are inside.
    Output: logits [n, 2], penultimate [n, bottleneck + kept] (what the joining layer sees),
    auxiliary [n, 2].
    """

    indices: Tensor
    mean: Tensor
    sd: Tensor

    def __init__(self, settings: ResNetSettings, selection: Selection) -> None:
        super().__init__()
        self.frozen = settings.frozen
        self.image = ImageBranch(settings)
        self.dropout = nn.Dropout(settings.dropout)
        self.reduce = nn.Linear(self.image.outputs, settings.bottleneck)
        joined = settings.bottleneck + len(selection.indices)
        self.join = nn.Linear(joined, settings.hidden)
        self.classes = nn.Linear(settings.hidden, 2)
        self.auxiliary = nn.Linear(settings.hidden, AUXILIARY)
        self.register_buffer("indices", torch.from_numpy(selection.indices.astype(np.int64)))
        self.register_buffer("mean", torch.from_numpy(selection.mean.astype(np.float32)))
        self.register_buffer("sd", torch.from_numpy(selection.sd.astype(np.float32)))

    def forward(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        reduced = F.relu(self.reduce(self.dropout(self.image(images))))
        standard = (features[:, self.indices] - self.mean) / self.sd
        penultimate = torch.cat([reduced, standard], dim=1)
        hidden = self.dropout(F.relu(self.join(penultimate)))
        return self.classes(hidden), penultimate, self.auxiliary(hidden)

    def start_from(self, warm: ResNet) -> None:
        """Begin as the warm-up: its image branch, its decision, and no word from the features.

        The parts nearest to the image are frozen (method.md). A first pair of units carries the
        warm-up's margin d through both layers, as relu(d) and relu(-d), so that before the first
        step the hybrid gives the warm-up's answer; the other units, which also see the features,
        start without a say in the classes and earn it. From few patients a head of random weights
        learnt less than the warm-up had already known.
        """
        self.image.load_state_dict(warm.image.state_dict())
        for part in self.image.parts[: self.frozen]:
            part.requires_grad_(False)
        with torch.no_grad():
            sign = warm.classes.weight.new_tensor([1.0, -1.0])
            decision = warm.classes.weight[1] - warm.classes.weight[0]
            offset = warm.classes.bias[1] - warm.classes.bias[0]
            self.reduce.weight[:PAIR] = torch.outer(sign, decision)
            self.reduce.bias[:PAIR] = sign * offset
            self.join.weight[:PAIR] = 0.0
            self.join.weight[:PAIR, :PAIR].fill_diagonal_(1.0)
            self.join.bias[:PAIR] = 0.0
            self.classes.weight.zero_()
            self.classes.weight[:, :PAIR] = torch.outer(-sign, sign) / 2.0
            self.classes.bias.zero_()

    def train(self, mode: bool = True) -> Hybrid:
        """Training mode for all but the frozen parts, whose batch statistics stay too."""
        super().train(mode)
        for part in self.image.parts[: self.frozen]:
            part.eval()
        return self
