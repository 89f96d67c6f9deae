"""Augmentation: replayable draws, geometry against known transforms, intensities in bounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from components.core.vocabulary import Sequence
from components.segment.data.augmentation import (
    ChannelDraw,
    VolumeAugmentation,
    augment_volume,
    draw_volume,
    rotation,
)
from components.segment.data.sampling import channels, masks
from components.segment.settings import VolumeAugmentationSettings
from tests.factories import make_prepared_case

INPUTS = (Sequence.T1C, Sequence.FLAIR)
STILL = VolumeAugmentation(np.eye(3), np.zeros(3), 0, (ChannelDraw(), ChannelDraw()), 0)
CENTRE = (11.5, 11.5, 11.5)
WHOLE = (24, 24, 24)


@pytest.fixture(scope="module")
def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    case = make_prepared_case(1)
    return channels(case, INPUTS), masks(case)


def test_the_same_generator_draws_the_same_sample(tensors) -> None:
    draws = [
        draw_volume(np.random.default_rng(5), VolumeAugmentationSettings(), INPUTS)
        for _ in range(2)
    ]
    one, two = (augment_volume(*tensors, CENTRE, WHOLE, d) for d in draws)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_no_draw_and_a_still_draw_leave_the_case_alone(tensors) -> None:
    volumes, pair = tensors
    x, target = augment_volume(volumes, pair, CENTRE, WHOLE, None)
    brain = pair[0] > 127
    assert torch.equal(x[:, ~brain], torch.zeros_like(x[:, ~brain]))
    expected = (volumes.float().clamp(-5, 5) / 10 + 0.5)[:, brain]
    torch.testing.assert_close(x[:, brain], expected)
    y, same = augment_volume(volumes, pair, CENTRE, WHOLE, STILL)
    torch.testing.assert_close(x, y, atol=1e-4, rtol=0)
    torch.testing.assert_close(target, same, atol=1e-4, rtol=0)


def test_a_patch_is_the_slice_it_names(tensors) -> None:
    volumes, pair = tensors
    whole, target = augment_volume(volumes, pair, CENTRE, WHOLE, None)
    part, part_target = augment_volume(volumes, pair, (9.5, 13.5, 7.5), (8, 16, 8), None)
    torch.testing.assert_close(part, whole[:, 6:14, 6:22, 4:12], atol=1e-4, rtol=0)
    torch.testing.assert_close(part_target, target[:, 6:14, 6:22, 4:12], atol=1e-4, rtol=0)


def test_a_turned_patch_is_the_patch_of_the_turned_volume(tensors) -> None:
    # A patch reads a part of the volume only; nothing it needs may be left out.
    volumes, pair = tensors
    matrix = rotation(np.deg2rad([20.0, -15.0, 30.0])) * np.array([-1.2, 1.1, 0.9])
    turned = replace(STILL, matrix=matrix, shift=np.array([0.05, -0.1, 0.15]))
    whole, target = augment_volume(volumes, pair, CENTRE, WHOLE, turned)
    # Centred on the whole volume's middle, both name the same places.
    part, part_target = augment_volume(volumes, pair, CENTRE, (8, 16, 8), turned)
    torch.testing.assert_close(part, whole[:, 8:16, 4:20, 8:16], atol=1e-4, rtol=0)
    torch.testing.assert_close(part_target, target[:, 8:16, 4:20, 8:16], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("matrix", "undo"),
    [
        (np.diag([-1.0, 1.0, 1.0]), lambda t: t.flip(-1)),
        (rotation(np.array([0.0, 0.0, np.pi / 2])), lambda t: torch.rot90(t, -1, (-2, -1))),
        (rotation(np.array([np.pi / 2, 0.0, 0.0])), lambda t: torch.rot90(t, -1, (-3, -2))),
    ],
)
def test_mirror_and_quarter_turns_match_numpy(tensors, matrix, undo) -> None:
    volumes, pair = tensors
    still, target = augment_volume(volumes, pair, CENTRE, WHOLE, None)
    x, moved = augment_volume(volumes, pair, CENTRE, WHOLE, replace(STILL, matrix=matrix))
    torch.testing.assert_close(undo(x), still, atol=1e-3, rtol=0)
    torch.testing.assert_close(undo(moved), target, atol=1e-3, rtol=0)


def test_scaling_changes_the_tumour_s_volume_by_its_cube(tensors) -> None:
    volumes, pair = tensors
    _, target = augment_volume(volumes, pair, CENTRE, WHOLE, None)
    halved = replace(STILL, matrix=np.eye(3) * 1.25)
    _, smaller = augment_volume(volumes, pair, CENTRE, WHOLE, halved)
    assert float(smaller.sum() / target.sum()) == pytest.approx(1.25**-3, rel=0.05)


def test_every_dial_changes_the_input_and_keeps_it_in_bounds(tensors) -> None:
    volumes, pair = tensors
    still, _ = augment_volume(volumes, pair, CENTRE, WHOLE, STILL)
    bias = np.linspace(-0.3, 0.3, 64).reshape(4, 4, 4)
    for change in (
        {"gamma": 0.3},
        {"contrast": -0.2},
        {"brightness": 0.4},
        {"bias": bias},
        {"noise_sd": 0.2},
        {"blur": 1.7},
        {"thickness": 3},
        {"dropped": True},
        {"inverted": True},
    ):
        drawn = replace(STILL, channels=(ChannelDraw(**change), ChannelDraw()))
        x, _ = augment_volume(volumes, pair, CENTRE, WHOLE, drawn)
        assert not torch.allclose(x[0], still[0], atol=1e-3), change
        assert torch.allclose(x[1], still[1], atol=1e-4), change
        assert 0.0 <= float(x.min()) <= float(x.max()) <= 1.0


def test_gamma_keeps_the_mid_tone(tensors) -> None:
    volumes, pair = torch.zeros_like(tensors[0]), tensors[1]
    drawn = replace(STILL, channels=(ChannelDraw(gamma=0.3), ChannelDraw(gamma=-0.3)))
    x, _ = augment_volume(volumes, pair, CENTRE, WHOLE, drawn)
    torch.testing.assert_close(x[:, pair[0] > 127], torch.full_like(x[:, pair[0] > 127], 0.5))


def test_thick_slices_are_constant_steps_smoothed_along_z_only(tensors) -> None:
    volumes, pair = tensors
    ramp = torch.arange(24.0)[None, :].expand(24, 24) / 24
    volumes = ramp[None, None].expand(2, 24, 24, 24).contiguous()
    drawn = replace(STILL, channels=(ChannelDraw(thickness=4), ChannelDraw(thickness=4)))
    x, _ = augment_volume(volumes, pair, CENTRE, WHOLE, drawn)
    still, _ = augment_volume(volumes, pair, CENTRE, WHOLE, STILL)
    torch.testing.assert_close(x, still, atol=1e-4, rtol=0)


def test_flair_is_never_lost() -> None:
    settings = VolumeAugmentationSettings(drop=1.0, invert=1.0)
    drawn = draw_volume(np.random.default_rng(0), settings, INPUTS)
    assert drawn.channels[0].dropped
    assert drawn.channels[0].inverted
    assert not drawn.channels[1].dropped
    assert not drawn.channels[1].inverted


def test_all_dials_at_zero_draw_nothing() -> None:
    off = VolumeAugmentationSettings(
        affine=0, flip=0, intensity=0, bias=0, noise=0, blur=0, thick_slices=0, drop=0, invert=0,
        erode=0,
    )  # fmt: skip
    drawn = draw_volume(np.random.default_rng(3), off, INPUTS)
    assert drawn.channels == STILL.channels
    assert np.array_equal(drawn.matrix, np.eye(3))
    assert drawn.erode == 0
