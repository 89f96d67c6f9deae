"""The 3-D U-Net of docs/method.md (Isensee 2017; Kickingereder et al., Lancet Oncol 2019).

Kept from it: strided convolutions into pre-activation residual blocks, nearest upsampling followed
by a convolution, localisation convolutions, and heads on the three finest decoder levels whose
outputs are summed. Four settings are ours, for thick slices on slow machines: `fold_z`,
`flat_levels`, `norm` and `narrow_decoder` (see UNetSettings); by default the network is the
published one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.segment.settings import Norm, UNetSettings

SLOPE = 0.01
"""Negative slope of every LeakyReLU."""

PRIOR_LOGIT = -3.0
"""Logit of the share of a volume that is tumour, about 5 %: where training starts."""

HEADS = 3
"""Decoder levels with a segmentation head: the finest three."""

MIDDLE, SPREAD = 0.5, 5.0
"""Where the paper's normalisation puts the brain's mean, and what brings its range near to 1 SD."""

EPSILON = 1e-5
"""Added to the variance by torch's normalisations."""

_CHANNELS = (1, -1, 1, 1, 1)

UNSAFE_DEPTH = 2
"""See Conv."""

Triple = tuple[int, int, int]


class NormAct(nn.Module):
    """Normalisation with affine parameters, then LeakyReLU in place."""

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.norm = norm
        if norm is Norm.BATCH:
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = self._by_batch(x) if self.norm is Norm.BATCH else self._by_instance(x)
        return F.leaky_relu(x, SLOPE, inplace=True)

    def _by_batch(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.mean, self.variance, self.weight, self.bias, training=self.training
        )

    def _by_instance(self, x: Tensor) -> Tensor:
        # Three spellings of the same formula. For one sample, instance and batch normalisation are
        # one, and on CPU the latter's backward pass is 20 times faster (channels-last bfloat16).
        if torch.compiler.is_exporting() or not self.training:
            return self._by_staged_means(x)
        if x.shape[0] == 1:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True)
        return F.group_norm(x, x.shape[1], self.weight, self.bias)

    def _by_staged_means(self, x: Tensor) -> Tensor:
        """Instance normalisation for inference, exact for large maps.

        torch's batch normalisation of channels-last maps on CPU (2.13) and ONNX Runtime's instance
        normalisation add all voxels one after the other in single precision: of maps of 128 voxels
        a side the former was 6e-3 SD away from double precision, this is 5e-7.
        """
        centred = x - _staged_mean(x)
        scale = torch.rsqrt(_staged_mean(centred * centred) + EPSILON) * self.weight.view(_CHANNELS)
        return centred * scale + self.bias.view(_CHANNELS)


def _staged_mean(x: Tensor) -> Tensor:
    """Mean over z, y, x, one axis after the other: short sums round less."""
    return x.mean(-1, keepdim=True).mean(-2, keepdim=True).mean(-3, keepdim=True)


class Conv(nn.Conv3d):
    """A convolution that leaves bfloat16 where oneDNN's backward pass reads memory it never wrote.

    Seen with torch 2.13 on CPU for maps two slices deep, in the gradient of the weights: garbage up
    to 1e35, from any width, and only there.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.device.type == "cpu" and x.shape[2] == UNSAFE_DEPTH:
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


def _conv(inputs: int, outputs: int, kernel: Triple, stride: Triple = (1, 1, 1)) -> Conv:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return Conv(inputs, outputs, kernel, stride, padding, bias=False)


class Context(nn.Module):
    """Convolution (strided from level 2 on) and a pre-activation residual block, summed."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Triple,
        stride: Triple,
        norm: Norm,
        dropout: float,
    ) -> None:
        super().__init__()
        self.enter = _conv(inputs, outputs, kernel, stride)
        self.norm1 = NormAct(outputs, norm)
        self.conv1 = _conv(outputs, outputs, kernel)
        self.dropout = nn.Dropout3d(dropout)
        self.norm2 = NormAct(outputs, norm)
        self.conv2 = _conv(outputs, outputs, kernel)
        self.leave = NormAct(outputs, norm)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        y = self.conv1(self.norm1(x))
        y = self.conv2(self.norm2(self.dropout(y)))
        return self.leave(x + y)


class Up(nn.Module):
    """Nearest upsampling, a convolution to the finer level's width, normalisation."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Triple, factor: Triple, norm: Norm
    ) -> None:
        super().__init__()
        self.factor = factor
        self.conv = _conv(inputs, outputs, kernel)
        self.norm = NormAct(outputs, norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(_upsample(x, self.factor)))


class Localise(nn.Module):
    """Localisation convolution of a concatenation, and normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple, norm: Norm) -> None:
        super().__init__()
        self.conv = _conv(inputs, outputs, kernel)
        self.norm = NormAct(outputs, norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class UNet(nn.Module):
    """Whole-tumour U-Net.

    Input: float [batch, channel, z, y, x], as `network_input` makes it; z, y, x multiples of
    `settings.divisors`. Output: logits [batch, 1, z, y, x]; in training mode a list of logits,
    finest first, each on its own level's resolution, for deep supervision.
    """

    def __init__(self, channels: int, settings: UNetSettings) -> None:
        super().__init__()
        self.fold_z, self.centred = settings.fold_z, settings.centred
        levels = settings.levels
        widths = [min(settings.width * 2**i, settings.max_width) for i in range(levels)]
        flat = [level < settings.flat_levels for level in range(levels)]
        kernels: list[Triple] = [(1, 3, 3) if f else (3, 3, 3) for f in flat]
        factors: list[Triple] = [(1, 2, 2) if f else (2, 2, 2) for f in flat]
        self.factors = factors
        self.contexts = nn.ModuleList(
            Context(
                widths[i - 1] if i else channels * settings.fold_z,
                widths[i],
                kernels[i],
                factors[i - 1] if i else (1, 1, 1),
                settings.norm,
                settings.dropout,
            )
            for i in range(levels)
        )
        self.ups = nn.ModuleList()
        self.localises = nn.ModuleList()
        self.halves = nn.ModuleList()
        self.heads = nn.ModuleList()
        for i in range(levels - 1):
            width = widths[i]
            found = width if settings.narrow_decoder else 2 * width
            halved = i > 0 and not settings.narrow_decoder
            self.ups.append(Up(widths[i + 1], width, kernels[i], factors[i], settings.norm))
            self.localises.append(Localise(2 * width, found, kernels[i], settings.norm))
            self.halves.append(nn.Conv3d(found, width, 1) if halved else nn.Identity())
            if i < HEADS:
                self.heads.append(nn.Conv3d(found, settings.fold_z, 1))
        self._start_from_no_tumour()

    def _start_from_no_tumour(self) -> None:
        """Heads sum up, so only the coarsest starts at the prior probability of tumour."""
        coarsest = len(self.heads) - 1
        for i, head in enumerate(self.heads):
            assert isinstance(head, nn.Conv3d) and head.bias is not None
            nn.init.constant_(head.bias, PRIOR_LOGIT if i == coarsest else 0.0)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        if self.centred:
            x = torch.where(x > 0.0, (x - MIDDLE) * SPREAD, 0.0)
        x = fold(x, self.fold_z).contiguous(memory_format=torch.channels_last_3d)
        skips = []
        for context in self.contexts:
            x = context(x)
            skips.append(x)
        x = skips.pop()
        outputs: list[Tensor] = []
        for i in reversed(range(len(self.ups))):
            x = self.localises[i](torch.cat([self.ups[i](x), skips[i]], dim=1))
            if i < len(self.heads):
                logits = self.heads[i](x).float()
                if outputs:
                    logits = logits + _upsample(outputs[-1], self.factors[i])
                outputs.append(logits)
            x = self.halves[i](x)
        outputs = [unfold(logits, self.fold_z) for logits in reversed(outputs)]
        return outputs if self.training else outputs[0]


def _upsample(x: Tensor, factor: Triple) -> Tensor:
    return F.interpolate(x, scale_factor=tuple(float(f) for f in factor), mode="nearest")


def fold(x: Tensor, slices: int) -> Tensor:
    """[b, c, z, y, x] -> [b, c * slices, z / slices, y, x]: neighbouring slices become channels."""
    if slices == 1:
        return x
    b, c, z, h, w = x.shape
    x = x.reshape(b, c, z // slices, slices, h, w).transpose(2, 3)
    return x.reshape(b, c * slices, z // slices, h, w)


def unfold(x: Tensor, slices: int) -> Tensor:
    """Inverse of `fold` for one channel: [b, slices, z / slices, y, x] -> [b, 1, z, y, x]."""
    if slices == 1:
        return x
    b, _, z, h, w = x.shape
    return x.transpose(1, 2).reshape(b, 1, z * slices, h, w)


def parameter_count(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
