"""The bench measures what it says."""

import pytest
import torch

from components.segment.bench import bench_segmenter, equal_dynunet
from components.segment.network.unet import UNet, parameter_count
from components.segment.settings import SegmentSettings, UNetSettings
from tests.factories import make_prepared_set


def test_the_bench_compares_equal_networks_and_names_the_hardware(tmp_path) -> None:
    settings = SegmentSettings(network=UNetSettings(width=6, levels=3), threads=1)
    rows = bench_segmenter(make_prepared_set(tmp_path, 3), settings, steps=2)
    values = {row["what"]: row["value"] for row in rows}
    assert values["DynUNet parameters"] == pytest.approx(values["parameters"], rel=0.25)
    assert values["loader ratio"] == pytest.approx(
        values["training, real loader"] / values["training, batch on the device"]
    )
    assert all(row["hardware"] and row["value"] > 0 for row in rows)


def test_dynunet_is_matched_to_the_paper_network() -> None:
    count = parameter_count(UNet(2, UNetSettings()))
    found = parameter_count(equal_dynunet(2, 5, count, (128, 128, 128)))
    assert found == pytest.approx(count, rel=0.1)


def test_the_other_network_takes_patches_of_few_slices() -> None:
    """12 slices can be halved twice; the third and fourth level halve in-plane alone."""
    rival = equal_dynunet(2, 5, 100_000, (12, 96, 96)).eval()
    with torch.inference_mode():
        assert rival(torch.zeros(1, 2, 12, 96, 96)).shape == (1, 1, 12, 96, 96)
