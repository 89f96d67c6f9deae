"""Synthetic patients: repeatable, plausible, as varied as they claim, and prepared as real ones."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from components.core.vocabulary import Sequence
from components.preprocess.plan import PreprocessingPlan, make_plan
from components.preprocess.settings import PreprocessSettings
from components.segment.data.sampling import Key
from components.segment.settings import SegmentSettings, UNetSettings
from components.synthetic.contrast import (
    _RANGES,
    TISSUES,
    draw_contrast,
    render_contrast,
)
from components.synthetic.head import HeadDraw, Push, render_head
from components.synthetic.lesions import centres_of, draw_lesions
from components.synthetic.patients import (
    SyntheticPatient,
    SyntheticSet,
    render_patient,
    synthetic_case,
)

SETTINGS = SegmentSettings(
    inputs=tuple(Sequence),
    network=UNetSettings(width=4, fold_z=4, flat_levels=4),
    crop=(4, 32, 32),
)
STRAIGHT = HeadDraw(
    seed=0, scale=(1.0, 1.0, 1.0), turn=(0.0, 0.0, 0.0), warp_mm=(0.0, 0.0),
    ventricles=0.0, atrophy=1.0,
)  # fmt: skip


@cache
def plan() -> PreprocessingPlan:
    return make_plan(PreprocessSettings(grid=32))


@cache
def patient(index: int) -> SyntheticPatient:
    return render_patient((7, index), plan())


def test_a_patient_is_made_again_to_the_same_bytes() -> None:
    again = render_patient((7, 0), plan())
    assert np.array_equal(again.shares, patient(0).shares)
    assert np.array_equal(again.masks, patient(0).masks)


def test_shares_fill_each_voxel_of_the_brain_once() -> None:
    for index in range(4):
        total = patient(index).shares.sum(axis=0, dtype=int)
        assert total.max() <= 255 + len(TISSUES)
        assert np.median(total[patient(index).brain]) == pytest.approx(255, abs=3)


def test_brains_are_of_plausible_size_and_tumours_inside_them() -> None:
    for index in range(6):
        found = patient(index)
        assert 900 < found.brain.sum() * found.grid.voxel_ml < 2000
        if found.tumor.any():
            assert (found.tumor & found.brain).sum() > 0.7 * found.tumor.sum()


def test_a_head_that_nothing_deforms_is_the_template_s() -> None:
    head = render_head(STRAIGHT)
    # MNI152 2009a: 1.87 L within the mask of its T1.
    assert head.brain.sum() * head.grid.voxel_ml == pytest.approx(1870, rel=0.08)


def test_a_mass_pushes_tissue_away() -> None:
    centre = (-30.0, 0.0, 20.0)
    before = render_head(STRAIGHT)
    after = render_head(STRAIGHT, [Push(centre, 25.0, 0.3)])
    middle = before.csf.shape[2] // 2
    assert not np.array_equal(before.white[:, :, :middle], after.white[:, :, :middle])
    # Far away nothing has moved.
    far = before.white[:, :, -20:], after.white[:, :, -20:]
    assert np.abs(far[0] - far[1]).mean() < 0.02


def test_one_patient_in_ten_is_healthy_and_some_have_several_foci() -> None:
    counts = [len(draw_lesions(np.random.default_rng(seed)).foci) for seed in range(600)]
    assert np.mean(np.array(counts) == 0) == pytest.approx(0.1, abs=0.04)
    assert np.mean(np.array(counts) > 1) == pytest.approx(0.135, abs=0.05)


def test_tumours_begin_in_both_hemispheres_and_below_the_tentorium() -> None:
    draws = [draw_lesions(np.random.default_rng(seed), healthy=0.0) for seed in range(300)]
    centres = np.array([centres_of(draw, (1.0, 1.0, 1.0))[0] for draw in draws])
    assert 0.35 < np.mean(centres[:, 0] > 0) < 0.65
    assert np.mean(centres[:, 2] < -25) > 0.03


def test_every_sample_keeps_a_sequence_and_flair_shows_oedema_brighter_than_white() -> None:
    draws = [draw_contrast(np.random.default_rng(seed)) for seed in range(400)]
    assert not any(all(draw.dropped) for draw in draws)
    flair, oedema, white = 2, TISSUES.index("oedema"), TISSUES.index("white")
    rows = np.array([draw.brightness[flair] for draw in draws])
    assert (rows[:, oedema] > rows[:, white]).mean() > 0.98
    assert set(_RANGES) == set(Sequence)
    assert all(set(_RANGES[sequence]) == set(TISSUES) for sequence in Sequence)


def test_thick_slices_make_neighbours_alike() -> None:
    shares = np.random.default_rng(0).integers(0, 255, (len(TISSUES), 24, 8, 8)).astype(np.uint8)
    plain = draw_contrast(np.random.default_rng(1))
    one = {**plain.__dict__, "dropped": (False,) * 3, "texture": (0.0,) * 3}
    thin = type(plain)(**{**one, "thick": ((1, 0),) * 3})
    thick = type(plain)(**{**one, "thick": ((4, 0),) * 3})
    detail = np.ones((24, 8, 8), np.float16)
    rough, smooth = (
        np.abs(np.diff(render_contrast(draw, shares, detail, 1.5), axis=1)).mean()
        for draw in (thin, thick)
    )
    assert smooth < 0.4 * rough


def test_samples_are_z_scores_within_the_brain_and_repeatable() -> None:
    dataset = SyntheticSet(plan(), SETTINGS)
    key = Key(SETTINGS.seed, 0, 0, 0)
    sample, again = dataset[key], dataset[key]
    assert np.array_equal(sample.volumes.numpy(), again.volumes.numpy())
    assert sample.volumes.shape == (3, 32, 32, 32)
    outside = sample.masks[0].numpy() == 0
    assert not sample.volumes.numpy()[:, outside].any()


def test_a_held_out_case_is_standardised_as_a_prepared_one() -> None:
    case = synthetic_case(0, plan(), tuple(Sequence), seed=3)
    for sequence in Sequence:
        values = case.volume(sequence)[case.brain]
        if values.any():
            assert abs(values.mean()) < 0.3
            assert 0.6 < values.std() < 1.5
    assert case.plan_digest == plan().digest()
