"""Which cases are learnt from, in which order, and the refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from components.core.errors import BadInput
from components.core.vocabulary import Sequence
from components.segment.data.sampling import (
    Key,
    TrainingSet,
    case_of,
    development_cases,
    patch_centre,
    plan_segmenter_members,
    sample_keys,
    sample_stream,
)
from components.segment.settings import SegmentSettings, UNetSettings
from tests.factories import make_prepared_case, make_prepared_set, write_prepared_set

SMALL = SegmentSettings(network=UNetSettings(width=4, levels=3))


def test_every_fold_is_held_out_once_and_never_learnt_from(tmp_path) -> None:
    cases = development_cases([make_prepared_set(tmp_path, 7, folds=3)], SMALL)
    members = plan_segmenter_members(cases)
    held_out = [case.patient_id for member in members for case in member.held_out]
    assert sorted(held_out) == sorted(case.patient_id for case in cases)
    for member in members:
        learnt = {case.patient_id for case in member.training}
        assert not learnt & {case.patient_id for case in member.held_out}
        assert len(learnt) + len(member.held_out) == 7


def test_external_cohorts_and_unmarked_cases_are_not_development(tmp_path) -> None:
    cases = [
        make_prepared_case(0),
        make_prepared_case(1, subset="tuning"),
        make_prepared_case(2, subset="snuh"),
        make_prepared_case(3, tumor=False),
    ]
    found = development_cases([write_prepared_set(tmp_path, cases)], SMALL)
    assert [case.patient_id for case in found] == ["case-000", "case-001"]


def _refused(tmp_path, cases, settings=SMALL) -> str:
    with pytest.raises(BadInput) as caught:
        plan_segmenter_members(development_cases([write_prepared_set(tmp_path, cases)], settings))
    return str(caught.value)


def test_an_empty_tumour_mask_is_refused_by_patient(tmp_path) -> None:
    case = make_prepared_case(0)
    empty = replace(case, tumor=np.zeros_like(case.tumor))
    message = _refused(tmp_path, [empty])
    assert "case-000" in message
    assert "mask is empty" in message


def test_a_mask_of_another_shape_is_refused_by_patient(tmp_path) -> None:
    case = make_prepared_case(0)
    other = replace(case, volumes=case.volumes[:, :-4])
    message = _refused(tmp_path, [other])
    assert "case-000" in message
    assert "shape" in message


def test_other_refusals_say_what_to_change(tmp_path) -> None:
    good = make_prepared_case(0)
    assert "tumor_mask" in _refused(tmp_path / "a", [make_prepared_case(0, tumor=False)])
    flair = make_prepared_case(0, sequences=(Sequence.FLAIR,))
    assert "sequence t1c was not prepared" in _refused(tmp_path / "b", [flair])
    deep = SMALL.model_copy(update={"network": UNetSettings(width=4, levels=5)})
    assert "preprocess.grid" in _refused(tmp_path / "c", [good], deep)
    wide = SMALL.model_copy(update={"crop": (32, 32, 32)})
    assert "segment.crop" in _refused(tmp_path / "d", [good], wide)
    assert "development cases" in _refused(tmp_path / "e", [good])
    mixed = [good, replace(make_prepared_case(1), plan_digest="1" * 64)]
    assert "one plan" in _refused(tmp_path / "f", mixed)


def test_an_epoch_shows_every_case_once() -> None:
    keys = [Key(0, 0, step, sample) for step in range(5) for sample in range(2)]
    first = [case_of(key, 2, 10) for key in keys]
    assert sorted(first) == list(range(10))
    second = [case_of(Key(0, 0, step + 5, s), 2, 10) for step in range(5) for s in range(2)]
    assert sorted(second) == list(range(10))
    assert first != second


def test_processes_share_the_batch_of_one() -> None:
    settings = SMALL.model_copy(update={"batch_size": 4, "steps": 3})
    alone = sample_keys(settings, 0, 1)
    shared = [sample_keys(settings, 0, 1, rank, 2) for rank in (0, 1)]
    assert len(alone) == 8
    assert sorted(map(repr, alone)) == sorted(map(repr, shared[0] + shared[1]))


def test_patches_lie_inside_and_hold_the_tumour_when_asked() -> None:
    case = make_prepared_case(4)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        centre = np.array(patch_centre(case.tumor, (8, 12, 16), 1.0, rng))
        start = centre - np.array([3.5, 5.5, 7.5])
        assert (start >= 0).all()
        assert (start + np.array([8, 12, 16]) <= 24).all()
        z, y, x = start.astype(int)
        assert case.tumor[z : z + 8, y : y + 12, x : x + 16].any()


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_deliver_the_same_samples_in_order(tmp_path, workers) -> None:
    settings = SMALL.model_copy(update={"workers": workers, "steps": 3})
    cases = development_cases([make_prepared_set(tmp_path, 5)], settings)
    dataset = TrainingSet(plan_segmenter_members(cases)[0], settings)
    keys = sample_keys(settings, 0, 0)
    samples = list(sample_stream(dataset, keys, settings, pin=False))
    assert [sample.key for sample in samples] == keys
    for sample, key in zip(samples, keys, strict=True):
        expected = dataset[key]
        assert sample.patient_id == expected.patient_id
        assert torch.equal(sample.volumes, expected.volumes)
        assert torch.equal(sample.masks, expected.masks)
