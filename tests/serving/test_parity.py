"""Exported networks answer like the trained ones, whatever their size; others are refused."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from components.release.inference.onnx_network import OnnxNetwork
from components.segment.network.export import ExportedSegmenter, _write
from components.segment.network.unet import NormAct, UNet
from components.segment.settings import Norm, UNetSettings
from serving.parity import MOST_FLIPPED, compared_cases, segmenter_parity
from tests.factories import make_prepared_case, write_prepared_set
from tests.serving.shop import Shop


@pytest.mark.parametrize("side", [32, pytest.param(96, marks=pytest.mark.slow)])
def test_normalisation_of_large_maps_is_that_of_double_precision(side: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 4, side, side, side) * 0.1 + 0.5
    x[:, :, : side // 5] = 0.0
    exact = torch.nn.functional.instance_norm(x.double())
    norm = NormAct(4, Norm.INSTANCE).eval()
    for laid_out in (x, x.contiguous(memory_format=torch.channels_last_3d)):
        found = norm(laid_out.clone())
        expected = torch.nn.functional.leaky_relu(exact, 0.01)
        assert (found - expected).abs().max() < 2e-6


def test_a_wide_exported_network_is_the_trained_one(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = UNet(2, UNetSettings()).to(memory_format=torch.channels_last_3d).eval()
    module = ExportedSegmenter([network], False)
    _write(copy.deepcopy(module), 2, 32, tmp_path / "model.onnx")
    volumes = torch.randn(2, 32, 32, 32)
    brain = torch.ones(32, 32, 32, dtype=torch.uint8)
    with torch.no_grad():
        trained = module.eval()(volumes, brain).numpy()
    exported = OnnxNetwork(tmp_path / "model.onnx")(
        {"volumes": volumes.numpy(), "brain": brain.numpy()}
    )
    assert np.abs(exported["probability"] - trained).max() < 1e-4


def test_the_parity_of_a_release_is_recorded(shop: Shop) -> None:
    parity = shop.release.manifest.parity
    assert parity["segmenter_flipped"] <= MOST_FLIPPED
    assert {"segmenter", "segmenter_mean", "segmenter_p999", "classifier", "idh"} <= set(parity)


def test_another_network_is_refused(shop: Shop, tmp_path: Path) -> None:
    from components.segment.inference.segmenter import Segmenter

    trained = Segmenter.load(shop.segmenter)
    other = copy.deepcopy(trained.networks[0])
    with torch.no_grad():
        for weights in other.parameters():
            weights.mul_(1.3)
    _write(
        ExportedSegmenter([other], trained.flips),
        len(trained.inputs),
        trained.grid,
        tmp_path / "model.onnx",
    )
    with pytest.raises(RuntimeError):
        segmenter_parity(OnnxNetwork(tmp_path / "model.onnx"), trained, [])


def test_cases_that_nothing_was_trained_on_come_first(tmp_path: Path) -> None:
    from dataclasses import replace

    subsets = ("training", "tuning", "internal", "snuh", "training")
    cases = [
        replace(make_prepared_case(seed), subset=subset) for seed, subset in enumerate(subsets)
    ]
    folder = write_prepared_set(tmp_path / "prepared", cases)
    assert [case.subset for case in compared_cases([folder])][:2] == ["internal", "snuh"]
