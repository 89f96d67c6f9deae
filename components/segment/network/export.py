"""The segmenter as one ONNX graph: normalisation, all members, their mean."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from components.core.onnx import export_module
from components.segment.inference.segmenter import Segmenter, probability_map
from components.segment.network.unet import UNet
from components.segment.settings import SegmentSettings

INPUT_NAMES = ("volumes", "brain")
OUTPUT_NAME = "probability"


class ExportedSegmenter(nn.Module):
    """`Segmenter.probability` over all members, as a module.

    Inputs: volumes float32 [channel, z, y, x], z-scores in the order of the segmenter's `inputs`;
    brain uint8 [z, y, x], 0 or 1. Output: probability float32 [z, y, x].
    """

    def __init__(self, networks: Iterable[UNet], flips: bool) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.flips = flips

    def forward(self, volumes: Tensor, brain: Tensor) -> Tensor:
        """See the class."""
        maps = [
            probability_map(network, volumes, brain, flips=self.flips)  # type: ignore[arg-type]
            for network in self.networks
        ]
        return torch.stack(maps).mean(dim=0)


def export_onnx(folder: Path | str, path: Path | str) -> None:
    """Write the trained segmenter of `folder` as one ONNX file, weights inside.

    Inputs `volumes` float32 [C, N, N, N] and `brain` uint8 [N, N, N], output `probability` float32
    [N, N, N], N the model's grid. Threshold and islands are left to `mask_on_working`.

    Raises BadInput: see `Segmenter.load`.
    """
    found = Segmenter.load(folder)
    module = ExportedSegmenter(found.networks, found.flips)
    _write(module, len(found.inputs), found.grid, path)


def export_untrained(settings: SegmentSettings, grid: int, path: Path | str) -> None:
    """Write one network of a profile's architecture, as `export_onnx` would after its training.

    Args:
        grid: voxels a side of the network grid.
    """
    network = UNet(len(settings.inputs), settings.network)
    module = ExportedSegmenter([network], settings.flips)
    _write(module, len(settings.inputs), grid, path)


def _write(module: ExportedSegmenter, channels: int, grid: int, path: Path | str) -> None:
    size = (grid,) * 3
    example = (torch.zeros(channels, *size), torch.ones(size, dtype=torch.uint8))
    export_module(module.eval(), example, path, inputs=INPUT_NAMES, outputs=[OUTPUT_NAME])
