"""The bench measures what it says."""

import pytest

from components.segment.bench import bench_segmenter, equal_dynunet
from components.segment.network import UNet, parameter_count
from components.segment.settings import NetworkSettings, SegmentSettings
from tests.factories import make_prepared_set


def test_the_bench_compares_equal_networks_and_names_the_hardware(tmp_path) -> None:
    settings = SegmentSettings(network=NetworkSettings(width=6, levels=3), threads=1)
    rows = bench_segmenter(make_prepared_set(tmp_path, 3), settings, steps=2)
    values = {row["what"]: row["value"] for row in rows}
    assert values["DynUNet parameters"] == pytest.approx(values["parameters"], rel=0.25)
    assert values["loader ratio"] == pytest.approx(
        values["training, real loader"] / values["training, batch on the device"]
    )
    assert all(row["hardware"] and row["value"] > 0 for row in rows)


def test_dynunet_is_matched_to_the_paper_network() -> None:
    count = parameter_count(UNet(2, NetworkSettings()))
    assert parameter_count(equal_dynunet(2, 5, count)) == pytest.approx(count, rel=0.1)
