"""Model 1 as one ONNX graph: normalisation, all members, their mean."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from components.core.onnx import OPSET, save_onnx
from components.segment.inference.segmenter import Segmenter, probability_map

INPUT_NAMES = ("volumes", "brain")
OUTPUT_NAME = "probability"


class ExportedSegmenter(nn.Module):
    """`Segmenter.probability` over all members, as a module.

    Inputs: volumes float32 [channel, z, y, x], z-scores in the order of the segmenter's `inputs`;
    brain uint8 [z, y, x], 0 or 1. Output: probability float32 [z, y, x].
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.networks = nn.ModuleList(segmenter.networks)
        self.clip, self.flips = segmenter.clip, segmenter.flips

    def forward(self, volumes: Tensor, brain: Tensor) -> Tensor:
        """See the class."""
        maps = [
            probability_map(network, volumes, brain, self.clip, flips=self.flips)  # type: ignore[arg-type]
            for network in self.networks
        ]
        return torch.stack(maps).mean(dim=0)


def export_onnx(folder: Path | str, path: Path | str) -> None:
    """Write the trained segmenter of `folder` as one ONNX file, weights inside.

    Inputs `volumes` float32 [C, N, N, N] and `brain` uint8 [N, N, N], output `probability` float32
    [N, N, N], N the model's grid. Threshold and islands are left to `mask_on_working`.

    Raises:
        BadInput: see `Segmenter.load`.
    """
    segmenter = Segmenter.load(folder)
    module = ExportedSegmenter(segmenter).eval()
    size = (segmenter.grid,) * 3
    example = (
        torch.zeros(len(segmenter.inputs), *size),
        torch.ones(size, dtype=torch.uint8),
    )
    program = torch.onnx.export(
        module,
        example,
        input_names=list(INPUT_NAMES),
        output_names=[OUTPUT_NAME],
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    save_onnx(program, path)
