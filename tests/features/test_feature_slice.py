"""The feature and slice step on synthetic cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from components.cohort.prepared import PreparedCase
from components.core.errors import BadInput
from components.core.vocabulary import FEATURE_NAMES, Sequence, Status
from components.features.feature_slice import (
    StepResult,
    StepSpec,
    feature_slice_step,
    mask_on_network,
)
from components.features.loci import loci_features
from components.features.normalise import normalise
from components.features.shape import shape_features
from components.segment.inference.mask import MaskRule
from tests.factories import make_prepared_case
from tests.features.factories import make_atlas

SPEC = StepSpec(MaskRule(0.5, 0.5), (Sequence.T1C, Sequence.T2), 5.0, make_atlas())


def run(case: PreparedCase, probability: np.ndarray, spec: StepSpec = SPEC) -> StepResult:
    volumes = {sequence: case.volume(sequence) for sequence in case.sequences}
    return feature_slice_step(
        probability, volumes, case.brain, case.grid, case.working, case.to_mni, 50.0, spec
    )


@pytest.fixture(scope="module")
def case() -> PreparedCase:
    return make_prepared_case(3)


@pytest.fixture(scope="module")
def result(case: PreparedCase) -> StepResult:
    return run(case, case.tumor.astype(np.float32))


def test_images_hold_both_sequences_and_the_mask(case: PreparedCase, result: StepResult) -> None:
    assert result.status is Status.OK
    assert result.images.shape == (5, 3, 24, 24) and result.images.dtype == np.float32
    mask = mask_on_network(result.mask_working, case.grid, case.working)
    for number, z in enumerate(result.slices):
        for channel, sequence in enumerate(SPEC.channels):
            expected = normalise(case.volume(sequence), case.brain, mask)[z]
            np.testing.assert_array_equal(result.images[number, channel], expected)
        np.testing.assert_array_equal(result.images[number, 2], mask[z])
    assert (result.images[:, :2][:, :, ~case.brain[result.slices[0]]][0] == 0).all()


def test_features_are_those_of_the_mask(case: PreparedCase, result: StepResult) -> None:
    named = dict(zip(FEATURE_NAMES, result.features, strict=True))
    expected = {
        **shape_features(result.mask_working, case.working),
        **loci_features(result.mask_working, case.working, case.to_mni, SPEC.atlas),
        "age": 50.0,
    }
    assert named == expected
    assert result.tumor_ml == pytest.approx(named["VoxelVolume"] / 1000.0)


def test_an_empty_mask_is_a_status_not_a_number(case: PreparedCase) -> None:
    result = run(case, np.zeros(case.grid.shape, np.float32))
    assert result.status is Status.NO_TUMOR
    assert (result.slices == -1).all()
    assert not result.images.any() and not result.features.any() and result.tumor_ml == 0.0


def test_islands_below_the_smallest_volume_are_no_tumour(case: PreparedCase) -> None:
    probability = np.zeros(case.grid.shape, np.float32)
    probability[12, 12, 12] = 1.0
    spec = replace(SPEC, rule=MaskRule(0.5, min_ml=10.0))
    assert run(case, probability, spec).status is Status.NO_TUMOR


def test_a_mask_between_network_voxels_stays_one(case: PreparedCase) -> None:
    mask = np.zeros(case.working.shape, bool)
    mask[20, 20, 20:22] = True
    assert mask_on_network(mask, case.grid, case.working).sum() in (1, 2)


def test_a_thin_tumour_is_said(case: PreparedCase) -> None:
    probability = np.zeros(case.grid.shape, np.float32)
    probability[12:14, 8:14, 8:14] = 1.0
    result = run(case, probability)
    assert any("slices moved" in warning for warning in result.warnings)


def test_a_missing_sequence_is_named(case: PreparedCase) -> None:
    volumes = {Sequence.T1C: case.volume(Sequence.T1C)}
    with pytest.raises(BadInput, match="t2"):
        feature_slice_step(
            case.tumor.astype(float), volumes, case.brain, case.grid, case.working,
            case.to_mni, 50.0, SPEC,
        )  # fmt: skip


def test_nan_never_passes(case: PreparedCase) -> None:
    probability = case.tumor.astype(np.float32)
    probability[0, 0, 0] = np.nan
    with pytest.raises(BadInput, match="NaN"):
        run(case, probability)


def test_normalisation_forgets_the_tumour_and_the_scale(case: PreparedCase) -> None:
    volume = case.volume(Sequence.FLAIR)
    result = normalise(volume, case.brain, case.tumor)
    z = (result[case.brain & ~case.tumor] - 0.5) * 10
    assert z.mean() == pytest.approx(0.0, abs=1e-3) and z.std() == pytest.approx(1.0, abs=1e-3)
    assert (result[~case.brain] == 0).all()
    brighter = volume.copy()
    brighter[case.tumor] += 1.0
    outside = case.brain & ~case.tumor
    np.testing.assert_array_equal(
        normalise(brighter, case.brain, case.tumor)[outside], result[outside]
    )
    np.testing.assert_allclose(
        normalise(7.0 * volume + 3.0, case.brain, case.tumor), result, atol=1e-5
    )


def test_a_flat_image_is_refused(case: PreparedCase) -> None:
    with pytest.raises(BadInput, match="one grey value"):
        normalise(np.ones(case.grid.shape), case.brain, case.tumor)
