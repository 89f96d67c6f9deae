"""The U-Net: shapes, the published size, folding, and the three spellings of its normalisation."""

import os
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError

from components.segment.data.network_input import network_input
from components.segment.network.unet import NormAct, UNet, _conv, fold, parameter_count, unfold
from components.segment.settings import Norm, SegmentSettings, UNetSettings

SMALL = UNetSettings(width=4, levels=3)


def test_paper_network_has_the_width_and_depth_of_the_published_one() -> None:
    network = UNet(2, UNetSettings())
    widths = [context.conv1.out_channels for context in network.contexts]
    assert widths == [21, 42, 84, 168, 336]
    # Counted by hand from the paper's layers: 27 weights a 3^3 kernel, 2 a normalised channel.
    n2 = 21**2
    contexts = 27 * (2 * 21 + 2 * n2) + 27 * 2.5 * n2 * (4 + 16 + 64 + 256)
    decoder = n2 * (1 + 4 + 16 + 64) * 27 * (2 + 4)
    halves = sum(2 * w * w + w for w in (42, 84, 168))
    norms = 2 * (3 * sum(widths) + 3 * sum(widths[:-1]))
    heads = sum(2 * w + 1 for w in (21, 42, 84))
    assert parameter_count(network) == contexts + decoder + halves + norms + heads


@pytest.mark.parametrize(
    "settings",
    [
        SMALL,
        UNetSettings(width=4, levels=4, fold_z=3, flat_levels=1),
        UNetSettings(width=4, levels=4, flat_levels=2, max_width=8, narrow_decoder=True),
        UNetSettings(width=4, levels=3, flat_levels=2, norm=Norm.BATCH),
    ],
)
def test_logits_keep_the_volume_s_shape(settings: UNetSettings) -> None:
    shape = tuple(2 * d for d in settings.divisors)
    network = UNet(2, settings)
    outputs = network(torch.rand(2, 2, *shape))
    assert outputs[0].shape == (2, 1, *shape)
    assert [o.shape[-1] for o in outputs] == [shape[2] // 2**i for i in range(len(outputs))]
    assert network.eval()(torch.rand(1, 2, *shape)).shape == (1, 1, *shape)


def test_unfold_undoes_fold() -> None:
    x = torch.arange(2 * 1 * 6 * 2 * 2.0).reshape(2, 1, 6, 2, 2)
    assert torch.equal(unfold(fold(x, 3), 3), x)
    assert fold(x, 3)[0, :, 0, 0, 0].tolist() == [0.0, 4.0, 8.0]


def test_a_network_must_be_three_dimensional_somewhere() -> None:
    with pytest.raises(ValueError, match="flat_levels must be below levels"):
        UNetSettings(levels=4, flat_levels=4)


def test_batch_normalisation_is_torch_s_and_predicts_with_its_running_averages() -> None:
    ours, reference = NormAct(3, Norm.BATCH), torch.nn.BatchNorm3d(3)
    for _ in range(3):
        x = torch.randn(2, 3, 4, 5, 6) * 3.0 + 1.0
        expected = torch.nn.functional.leaky_relu(reference(x), 0.01)
        torch.testing.assert_close(ours(x.clone()), expected)
    torch.testing.assert_close(ours.mean, reference.running_mean)
    torch.testing.assert_close(ours.variance, reference.running_var)
    expected = torch.nn.functional.leaky_relu(reference.eval()(x), 0.01)
    torch.testing.assert_close(ours.eval()(x.clone()), expected)


def test_one_sample_and_a_batch_are_normalised_alike() -> None:
    norm = NormAct(3, Norm.INSTANCE)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, -1.0]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
    x = torch.randn(2, 3, 4, 5, 6)
    batch = norm(x.clone())
    alone = torch.cat([norm(x[i : i + 1].clone()) for i in range(2)])
    torch.testing.assert_close(batch, alone, atol=1e-5, rtol=1e-5)
    reference = torch.nn.functional.instance_norm(x, weight=norm.weight, bias=norm.bias)
    reference = torch.nn.functional.leaky_relu(reference, 0.01)
    torch.testing.assert_close(batch, reference, atol=1e-5, rtol=1e-5)


def test_training_starts_from_little_tumour() -> None:
    network = UNet(2, SMALL).eval()
    with torch.no_grad():
        probability = torch.sigmoid(network(torch.rand(1, 2, 8, 8, 8)))
    assert 0.01 < float(probability.mean()) < 0.15


def test_network_input_clips_scales_and_blanks() -> None:
    volumes = torch.tensor([-9.0, -5.0, 0.0, 2.5, 7.0, 7.0]).reshape(1, 1, 1, 6)
    brain = torch.tensor([1, 1, 1, 1, 1, 0]).reshape(1, 1, 6)
    expected = torch.tensor([0.0, 0.0, 0.5, 0.75, 1.0, 0.0])
    assert torch.equal(network_input(volumes, brain).flatten(), expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": ["t1c"]},
        {"inputs": ["flair", "flair"]},
        {"crop": [20, 16, 16], "network": {"levels": 4}},
        {"stepz": 3},
    ],
)
def test_settings_that_cannot_train_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        SegmentSettings.model_validate(wrong)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_bfloat16_gradients_are_those_of_float32_at_every_depth(depth: int) -> None:
    """Two slices deep, oneDNN's bfloat16 backward pass reads memory that nobody wrote."""
    torch.manual_seed(0)
    conv = _conv(32, 32, (3, 3, 3))
    x = torch.randn(1, 32, depth, 8, 8).bfloat16().float()
    conv(x).pow(2).sum().backward()
    assert conv.weight.grad is not None
    expected = conv.weight.grad.clone()
    for _ in range(4):
        del [torch.full((n,), 1e35) for n in (1_000, 100_000, 1_000_000)][:]
        conv.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            y = conv(x.contiguous(memory_format=torch.channels_last_3d))
        y.float().pow(2).sum().backward()
        error = (conv.weight.grad - expected).abs().max() / expected.abs().max()
        assert error < 0.05


@pytest.mark.parametrize("depth", [1, 3])
def test_bfloat16_gradients_of_wide_maps_stay_in_their_memory(depth: int) -> None:
    """With Intel's AMX oneDNN wrote beyond it and killed the process: see components/__init__."""
    script = f"""
import torch
from components.segment.network.unet import _conv
torch.set_num_threads(1)
for width in (8, 12, 24):
    conv = _conv(width, width, (1, 3, 3))
    x = torch.randn(2, width, {depth}, 96, 96).contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    y.float().pow(2).sum().backward()
    assert conv.weight.grad.isfinite().all()
"""
    environment = {k: v for k, v in os.environ.items() if k != "ONEDNN_MAX_CPU_ISA"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_centred_network_sees_background_as_mean_brain() -> None:
    torch.manual_seed(0)
    network = UNet(1, UNetSettings(width=4, levels=3, dropout=0.0, centred=True)).eval()
    brain = torch.full((1, 1, 16, 16, 16), 0.5)
    nothing = torch.zeros(1, 1, 16, 16, 16)
    assert torch.equal(network(brain), network(nothing))
    assert not torch.equal(network(brain + 0.1), network(nothing))
