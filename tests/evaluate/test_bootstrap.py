"""The bootstrap: patients are resampled, seeds decide, intervals cover."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluate.settings import EvaluateSettings
from components.evaluate.statistics import metrics
from components.evaluate.statistics.bootstrap import bootstrap


def drawn(seed: int, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    idh = rng.integers(0, 2, n)
    return idh, 1 / (1 + np.exp(-rng.normal(1.5 * idh - 0.7, 1.0)))


def test_the_same_seed_gives_the_same_intervals() -> None:
    idh, p = drawn(0)
    one, two = (bootstrap(idh, p, EvaluateSettings(iterations=300, seed=4)) for _ in range(2))
    assert one == two
    assert bootstrap(idh, p, EvaluateSettings(iterations=300, seed=5)) != one


def test_intervals_equal_a_plain_loop() -> None:
    idh, p = drawn(1)
    fast = bootstrap(idh, p, EvaluateSettings(iterations=2000, seed=0))
    rng = np.random.default_rng(0)
    values: dict[str, list[float]] = {"auroc": [], "auprc": [], "brier": []}
    for _ in range(2000):
        pick = rng.integers(0, len(idh), len(idh))
        values["auroc"].append(metrics.auroc(idh[pick], p[pick]))
        values["auprc"].append(metrics.auprc(idh[pick], p[pick]))
        values["brier"].append(metrics.brier(idh[pick], p[pick]))
    for name, found in values.items():
        low, high = np.nanpercentile(found, [2.5, 97.5])
        assert fast[name].low == pytest.approx(low, abs=0.012), name
        assert fast[name].high == pytest.approx(high, abs=0.012), name


def test_slices_of_a_patient_are_drawn_together() -> None:
    """Five copies of each patient must not make the interval narrower."""
    idh, p = drawn(2, 60)
    plan = EvaluateSettings(iterations=1500, seed=0)
    alone = bootstrap(idh, p, plan)["auroc"]
    copies = bootstrap(
        np.repeat(idh, 5), np.repeat(p, 5), plan, patient=np.repeat(np.arange(60), 5)
    )["auroc"]
    naive = bootstrap(np.repeat(idh, 5), np.repeat(p, 5), plan)["auroc"]
    width = alone.high - alone.low
    assert copies.high - copies.low == pytest.approx(width, rel=0.12)
    assert naive.high - naive.low < 0.7 * width


def test_the_interval_covers_as_it_says() -> None:
    truth = 0.8554  # AUROC of two unit normals 1.5 apart, Phi(1.5 / sqrt 2)
    inside = 0
    for seed in range(200):
        interval = bootstrap(*drawn(seed + 10), EvaluateSettings(iterations=300, seed=seed))[
            "auroc"
        ]
        inside += interval.low <= truth <= interval.high
    assert inside / 200 == pytest.approx(0.94, abs=0.04)


def test_a_class_that_is_often_not_drawn_is_counted() -> None:
    idh = np.array([1] + [0] * 20)
    interval = bootstrap(idh, np.linspace(0, 1, 21), EvaluateSettings(iterations=500))["auroc"]
    assert 0 < interval.usable < 500
