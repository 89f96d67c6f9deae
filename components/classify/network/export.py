"""Model 2 as one ONNX graph: selection, standardisation, all networks, calibration."""

from __future__ import annotations

from pathlib import Path

import torch

from components.classify.inference.classifier import SLICES, Classifier
from components.core.onnx import OPSET, save_onnx
from components.core.vocabulary import FEATURE_NAMES

INPUT_NAMES = ("images", "features")
OUTPUT_NAMES = ("probability", "slice_probability", "uncertainty", "ood")


def export_onnx(folder: Path | str, path: Path | str) -> None:
    """Write the trained classifier of `folder` as one ONNX file, weights inside.

    Inputs `images` float32 [B, 5, 3, N, N] and `features` float32 [B, 24] (raw, in the order of
    FEATURE_NAMES); outputs `probability` [B], `slice_probability` [B, 5], `uncertainty` [B] and
    `ood` [B]; B is free, N the model's grid.

    Raises:
        BadInput: see `Classifier.load`.
    """
    classifier = Classifier.load(folder)
    # Two patients, not one: a dimension of one would be baked in.
    example = (
        torch.rand(2, SLICES, 3, classifier.grid, classifier.grid),
        torch.rand(2, len(FEATURE_NAMES)),
    )
    patients = torch.export.Dim("patients", min=1, max=1024)
    program = torch.onnx.export(
        classifier.ensemble,
        example,
        input_names=list(INPUT_NAMES),
        output_names=list(OUTPUT_NAMES),
        dynamic_shapes={"images": {0: patients}, "features": {0: patients}},
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    save_onnx(program, path)
