"""The classifier as one ONNX graph: selection, standardisation, all networks, calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from components.classify.data.selection import Selection
from components.classify.inference.calibration import Calibrator
from components.classify.inference.classifier import SLICES, Classifier, Ensemble
from components.classify.inference.uncertainty import Reference
from components.classify.network.resnet import Hybrid
from components.classify.settings import ClassifySettings
from components.core.onnx import export_module
from components.core.vocabulary import FEATURE_NAMES

INPUT_NAMES = ("images", "features")
OUTPUT_NAMES = ("probability", "slice_probability", "uncertainty", "ood")


def export_onnx(folder: Path | str, path: Path | str) -> None:
    """Write the trained classifier of `folder` as one ONNX file, weights inside.

    Inputs `images` float32 [B, 5, 3, N, N] and `features` float32 [B, 24] (raw, in the order of
    FEATURE_NAMES); outputs `probability` [B], `slice_probability` [B, 5], `uncertainty` [B] and
    `ood` [B]; B is free, N the model's grid.

    Raises BadInput: see `Classifier.load`.
    """
    classifier = Classifier.load(folder)
    _write(classifier.ensemble, classifier.grid, path)


def export_untrained(settings: ClassifySettings, grid: int, path: Path | str) -> None:
    """Write one hybrid of a profile's architecture, as `export_onnx` would after its training.

    Args:
        grid: pixels a side of the images.
    """
    count = len(FEATURE_NAMES)
    every = Selection(np.arange(count), np.zeros(count), np.zeros(count), np.ones(count))
    hybrid = Hybrid(settings.network, every).eval()
    size = settings.network.bottleneck + count
    reference = Reference(torch.zeros(size), torch.eye(size))
    _write(Ensemble([hybrid], [reference], Calibrator(), 1.0).eval(), grid, path)


def _write(ensemble: Ensemble, grid: int, path: Path | str) -> None:
    # Two patients, not one: a dimension of one would be baked in.
    example = (torch.rand(2, SLICES, 3, grid, grid), torch.rand(2, len(FEATURE_NAMES)))
    patients = torch.export.Dim("patients", min=1, max=1024)
    export_module(
        ensemble,
        example,
        path,
        inputs=INPUT_NAMES,
        outputs=OUTPUT_NAMES,
        dynamic_shapes={"images": {0: patients}, "features": {0: patients}},
    )
