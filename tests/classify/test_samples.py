"""Reading samples, planning members, selecting features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from components.classify.data.samples import plan_classifier_members, read_samples
from components.classify.data.selection import select
from components.core.errors import BadInput
from components.core.vocabulary import FEATURE_NAMES, SHAPE_FEATURES
from tests.classify.factories import make_samples


def test_without_folds_one_member_tunes_on_the_tuning_patients(tmp_path: Path) -> None:
    samples = read_samples(make_samples(tmp_path / "s", 24, external=4))
    (member,) = plan_classifier_members(samples, 4)
    assert len(member.training) == 18 and len(member.tuning) == 6
    assert not set(member.training) & set(member.tuning)
    assert samples.development[member.training].all()
    np.testing.assert_array_equal(member.held_out, member.tuning)


def test_every_fold_is_held_out_once(tmp_path: Path) -> None:
    samples = read_samples(make_samples(tmp_path / "s", 24, folds=3, external=4))
    members = plan_classifier_members(samples, 4)
    assert [m.fold for m in members] == [0, 1, 2]
    assert sorted(np.concatenate([m.held_out for m in members])) == list(range(24))
    for member in members:
        assert len(member.tuning) == 0
        assert sorted([*member.training, *member.held_out]) == list(range(24))


def test_patients_without_label_tumour_or_age_are_never_trained_on(tmp_path: Path) -> None:
    rows = {
        "p000": {"idh": ""},
        "p001": {"status": "no_tumor", **dict.fromkeys(SHAPE_FEATURES, "")},
        "p002": {"age": ""},
    }
    samples = read_samples(make_samples(tmp_path / "s", 24, rows=rows))
    (member,) = plan_classifier_members(samples, 4)
    assert not {0, 1, 2} & {*member.training, *member.held_out}
    assert samples.usable.tolist() == [True, False, False] + [True] * 21


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({f"p{i:03d}": {"idh": 1} for i in range(24)}, "all of one IDH status"),
        ({f"p{i:03d}": {"idh": ""} for i in range(20)}, "needed"),
        ({f"p{i:03d}": {"idh": 0} for i in range(18, 24)}, "tuning patients"),
        ({"p003": {"patient_id": "p004"}}, "stands twice"),
        ({"p003": {"Sphericity": "round"}}, "p003, column Sphericity"),
    ],
)
def test_refusals_name_what_is_wrong(tmp_path: Path, rows: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        plan_classifier_members(read_samples(make_samples(tmp_path / "s", 24, rows=rows)), 12)


def test_an_infinite_feature_is_a_missing_one(tmp_path: Path) -> None:
    samples = read_samples(make_samples(tmp_path / "s", 24, rows={"p003": {"Flatness": "inf"}}))
    assert not samples.usable[3]


def test_a_missing_column_and_a_missing_image_are_named(tmp_path: Path) -> None:
    folder = make_samples(tmp_path / "s", 8)
    (folder / "images" / "p001.npy").unlink()
    with pytest.raises(BadInput, match=r"p001\.npy"):
        read_samples(folder).images([0, 1])
    table = (folder / "features.csv").read_text().replace("Sphericity", "Roundness")
    (folder / "features.csv").write_text(table)
    with pytest.raises(BadInput, match="column 'Sphericity' is missing"):
        read_samples(folder)
    with pytest.raises(BadInput, match="not a samples folder"):
        read_samples(tmp_path)


def test_selection_is_the_t_test_of_the_training_patients() -> None:
    rng = np.random.default_rng(0)
    features, idh = rng.normal(size=(60, 24)), np.arange(60) % 2
    features[:, [3, 23]] += 2.0 * idh[:, None]
    features[:, 7] = 5.0
    kept = select(features, idh, 0.001)
    assert kept.names == (FEATURE_NAMES[3], "age")
    expected = stats.ttest_ind(features[idh == 1, 3], features[idh == 0, 3], equal_var=False)
    assert kept.p_values[3] == pytest.approx(expected.pvalue)
    standard = kept.standardise(features)
    np.testing.assert_allclose(standard.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(standard.std(axis=0), 1.0)
    assert 7 not in select(features, idh, 1.0).indices
    assert len(select(features, idh, 1.0).indices) == 23
    assert len(select(rng.normal(size=(60, 24)), idh, 1e-12).indices) == 1
    with pytest.raises(BadInput, match="constant"):
        select(np.ones((60, 24)), idh, 0.05)
