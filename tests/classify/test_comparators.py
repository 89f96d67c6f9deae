"""Forest, age, calibration and uncertainty against what they stand for."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from components.classify.comparators.age import AgeModel, train_age
from components.classify.comparators.forest import Forest, permutation_importance, train_forest
from components.classify.data.selection import select
from components.classify.inference.calibration import Calibrator, fit
from components.classify.inference.uncertainty import (
    Reference,
    abstention_threshold,
    risk_coverage,
    rms_distance,
)
from components.classify.settings import CalibrationKind, ForestSettings

RNG = np.random.default_rng(0)
IDH = np.arange(80) % 2
FEATURES = RNG.normal(size=(80, 24)) + np.outer(IDH, np.r_[np.ones(5), np.zeros(19)])
SETTINGS = ForestSettings(trees=20, folds=3, min_leaf=(1, 5), max_features=(0.3, 0.8), repeats=5)


@pytest.fixture(scope="module")
def forest() -> Forest:
    return train_forest(FEATURES, IDH, select(FEATURES, IDH, 1.0), SETTINGS, 3, balance=True)


def test_the_stored_forest_answers_as_scikit_learn(forest: Forest) -> None:
    theirs = RandomForestClassifier(
        20,
        random_state=3,
        class_weight="balanced",
        min_samples_leaf=int(forest.chosen["min_samples_leaf"]),
        max_features=forest.chosen["max_features"],
    ).fit(FEATURES, IDH)
    new = RNG.normal(size=(200, 24))
    np.testing.assert_allclose(forest.predict(new), theirs.predict_proba(new)[:, 1], atol=1e-12)
    back = Forest.from_json(json.loads(json.dumps(forest.to_json())))
    np.testing.assert_array_equal(back.predict(new), forest.predict(new))


def test_trees_of_a_large_cohort_learn_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.classify.comparators.forest.SAMPLED", 20)
    selection = select(FEATURES, IDH, 1.0)
    found = train_forest(FEATURES, IDH, selection, SETTINGS, 3, balance=True)
    theirs = RandomForestClassifier(
        20,
        random_state=3,
        class_weight="balanced",
        max_samples=20,
        min_samples_leaf=int(found.chosen["min_samples_leaf"]),
        max_features=found.chosen["max_features"],
    ).fit(FEATURES, IDH)
    np.testing.assert_allclose(found.predict(FEATURES), theirs.predict_proba(FEATURES)[:, 1])


def test_importance_finds_the_features_that_matter(forest: Forest) -> None:
    found = permutation_importance(forest, FEATURES, IDH, 5, 0)
    means = np.array([found[name]["mean"] for name in found])
    assert len(means) == 24 and means[:5].mean() > 3 * abs(means[5:]).mean()


def test_age_is_a_logistic_regression() -> None:
    age = 50.0 - 10.0 * IDH + RNG.normal(0, 8, 80)
    model = train_age(age, IDH, balance=False)
    theirs = LogisticRegression(C=1e6, max_iter=1000).fit(age[:, None], IDH)
    grid = np.linspace(18, 90, 20)
    np.testing.assert_allclose(
        model.predict(grid), theirs.predict_proba(grid[:, None])[:, 1], atol=0.01
    )
    assert AgeModel.from_json(json.loads(json.dumps(model.to_json()))) == model
    assert np.isnan(model.predict(np.array([np.nan]))[0])


def test_temperature_cools_an_overconfident_model() -> None:
    truth = RNG.random(400) < 0.5
    margin = np.where(truth, 1.0, -1.0) + RNG.normal(0, 1.5, 400)
    margins = np.repeat(5.0 * margin[:, None, None], 5, axis=2)
    for kind in (CalibrationKind.TEMPERATURE, CalibrationKind.PLATT):
        cooled = fit(margins, truth, kind)
        assert cooled.temperature > 3.0
        mean = cooled(margins).mean(axis=(1, 2))
        high = mean > 0.8
        assert truth[high].mean() == pytest.approx(mean[high].mean(), abs=0.08)
    assert fit(margins, truth, CalibrationKind.NONE) == Calibrator()


def test_perfect_separation_does_not_run_away() -> None:
    idh = np.arange(12) % 2
    margins = np.where(idh, 3.0, -3.0)[:, None, None] * np.ones((1, 2, 5))
    assert 0.2 < fit(margins, idh, CalibrationKind.PLATT).temperature < 1.0


def test_uncertainty_grows_with_doubt_and_with_quarrel() -> None:
    sure, unsure = torch.full((2, 1, 5), 0.95), torch.full((2, 1, 5), 0.55)
    quarrel = torch.cat([torch.full((1, 1, 5), 0.99), torch.full((1, 1, 5), 0.11)])
    assert rms_distance(sure).item() == pytest.approx(0.05)
    assert rms_distance(unsure).item() == pytest.approx(0.45)
    assert quarrel.mean().item() == pytest.approx(0.55)
    assert rms_distance(quarrel).item() > rms_distance(unsure).item()


def test_the_reference_knows_its_own_from_strangers() -> None:
    points = RNG.normal(size=(300, 6)) * [1, 10, 100, 1, 1, 1] + 5.0
    reference = Reference.of(points)
    own = reference.distance(torch.from_numpy(points).float())
    assert own.mean().item() == pytest.approx(1.0, abs=0.1)
    strange = torch.from_numpy(points + np.array([0, 0, 0, 0, 20, 0])).float()
    assert reference.distance(strange).min() > own.quantile(0.99)
    constant = Reference.of(np.ones((10, 3)))
    assert torch.isfinite(constant.distance(torch.zeros(2, 3))).all()


def test_abstention_answers_the_share_it_promises() -> None:
    uncertainty = RNG.random(200)
    threshold = abstention_threshold(uncertainty, 0.8)
    assert (uncertainty <= threshold).mean() == pytest.approx(0.8, abs=0.01)


def test_risk_coverage_starts_with_the_surest() -> None:
    rows = risk_coverage(np.array([0.3, 0.1, 0.2]), np.array([0.6, 0.9, 0.4]), np.array([0, 1, 1]))
    assert [round(row["accuracy"], 3) for row in rows] == [1.0, 0.5, 0.333]
    assert rows[-1] == {"coverage": 1.0, "threshold": 0.3, "accuracy": pytest.approx(1 / 3)}
