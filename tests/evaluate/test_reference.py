"""The statistics against R 4.2.2 (stats, pROC, sandwich) and PRROC's value; see reference/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from components.evaluate.statistics import metrics
from components.evaluate.statistics.cohort_tests import (
    chi_square,
    compare_counts,
    compare_means,
    fisher_exact,
)
from components.evaluate.statistics.delong import delong, paired_delong
from components.evaluate.statistics.paired_tests import (
    exact_binomial,
    exact_mcnemar,
    holm,
    non_inferiority,
)

R = json.loads((Path(__file__).parent / "reference" / "reference.json").read_text())


@pytest.fixture(params=["continuous", "tied"])
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {
        key: np.array(value) if isinstance(value, list) else value
        for key, value in R[request.param].items()
    }


def test_auroc_and_delong_equal_proc(case: dict[str, Any]) -> None:
    area = delong(case["idh"], case["first"])
    assert area.value == pytest.approx(case["auroc"], abs=1e-12)
    assert area.standard_error**2 == pytest.approx(case["delong_variance"], rel=1e-9)
    assert (area.low, area.high) == pytest.approx(tuple(case["delong_ci"]), abs=1e-9)


def test_the_paired_test_equals_proc(case: dict[str, Any]) -> None:
    test = paired_delong(case["idh"], case["first"], case["second"])
    assert test.second == pytest.approx(case["auroc_second"], abs=1e-12)
    assert test.z == pytest.approx(case["delong_z"], rel=1e-9)
    assert test.p == pytest.approx(case["delong_p"], rel=1e-8)


def test_the_area_under_precision_and_recall_is_prroc_s(case: dict[str, Any]) -> None:
    assert metrics.auprc(case["idh"], case["first"]) == pytest.approx(case["auprc"], abs=1e-9)


def test_prroc_s_own_test_values() -> None:
    published = R["prroc_published"]
    positive, negative = np.array(published["positive"]), np.array(published["negative"])
    idh = np.r_[np.ones(len(positive), int), np.zeros(len(negative), int)]
    area = metrics.auprc(idh, np.r_[positive, negative])
    assert area == pytest.approx(published["auprc"], abs=1e-9)
    worst = metrics.auprc(np.repeat([1, 0], 1000), np.r_[np.zeros(1000), np.ones(1000)])
    assert worst == pytest.approx(published["worst"], abs=1e-3)


def test_calibration_equals_glm(case: dict[str, Any]) -> None:
    found = metrics.calibration(case["idh"], case["first"])
    for ours, theirs in {
        "slope": "slope",
        "slope_error": "slope_error",
        "intercept": "intercept",
        "intercept_error": "intercept_error",
        "in_the_large": "in_the_large",
        "in_the_large_error": "in_the_large_error",
    }.items():
        assert getattr(found, ours) == pytest.approx(case[theirs], rel=1e-6), ours


def test_errors_over_slices_equal_vcov_cl() -> None:
    known = R["clustered"]
    idh, p, patient = (np.array(known[key]) for key in ("idh", "probability", "patient"))
    found = metrics.calibration(idh, p, patient)
    for name in ("slope", "slope_error", "intercept_error", "in_the_large_error"):
        assert getattr(found, name) == pytest.approx(known[name], rel=1e-6), name
    assert metrics.calibration(idh, p).slope_error < found.slope_error


@pytest.mark.parametrize("row", R["perfect"], ids=lambda r: f"{r['mutants']}+{r['wildtypes']}")
def test_a_perfect_ranking_has_an_interval(row: dict[str, Any]) -> None:
    idh = np.repeat([1, 0], [row["mutants"], row["wildtypes"]])
    for p, limits in ((idh * 0.9, (row["low"], 1.0)), (1.0 - idh, (0.0, 1 - row["low"]))):
        area = delong(idh, p)
        assert (area.low, area.high) == pytest.approx(limits, abs=1e-9)


def test_brier_and_wilson_equal_r(case: dict[str, Any]) -> None:
    idh, first = case["idh"], case["first"]
    assert metrics.brier(idh, first) == pytest.approx(case["brier"], abs=1e-12)
    counts = metrics.Confusion.at(idh, first, 0.5).proportions["sensitivity"]
    assert metrics.wilson(*counts, 0.95) == pytest.approx(
        tuple(case["sensitivity_wilson"]), abs=1e-9
    )


@pytest.mark.parametrize(("count", "total"), [(0, 9), (1, 1), (7, 7), (13, 40), (799, 800)])
def test_wilson_equals_its_closed_form(count: int, total: int) -> None:
    z, share = stats.norm.ppf(0.975), count / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    spread = share * (1 - share) / total + z**2 / (4 * total**2)
    half = z / (1 + z**2 / total) * np.sqrt(spread)
    limits = (max(middle - half, 0.0), min(middle + half, 1.0))
    assert metrics.wilson(count, total, 0.95) == pytest.approx(limits, abs=1e-9)
    assert np.isnan(metrics.wilson(0, 0, 0.95)).all()


def test_binomial_and_mcnemar_equal_r(case: dict[str, Any]) -> None:
    right = (case["first"] >= 0.5) == (case["idh"] == 1)
    other = (case["second"] >= 0.5) == (case["idh"] == 1)
    p = exact_binomial(int(right.sum()), len(right), float(other.mean()))
    assert p == pytest.approx(case["binomial_p"], rel=1e-8)
    assert exact_mcnemar(right, other) == pytest.approx(case["mcnemar_p"], rel=1e-9)


@pytest.mark.parametrize("row", R["binomial"], ids=lambda r: f"{r['x']} of {r['n']}")
def test_exact_binomial_equals_binom_test(row: dict[str, float]) -> None:
    assert exact_binomial(int(row["x"]), int(row["n"]), row["p"]) == pytest.approx(
        row["value"], rel=1e-7
    )


def test_the_paper_s_own_binomial_tests_are_reproduced() -> None:
    """Hybrid against age alone (paper, Results): every P is below 0.001."""
    for row in R["binomial"][:3]:
        assert exact_binomial(int(row["x"]), int(row["n"]), row["p"]) < 0.002


TABLES = [
    *(pytest.param(t, id=f"{site} {name}") for site, rows in R["table_one"].items()
      for name, t in rows.items()),
    *(pytest.param(t, id=f"small {i}") for i, t in enumerate(R["small_tables"])),
]  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_tables_of_counts_equal_chisq_test_and_fisher_test(table: dict[str, Any]) -> None:
    counts = np.array(table["counts"])
    assert chi_square(counts) == pytest.approx(table["chi_square_p"], abs=1e-9)
    exact = fisher_exact(counts)
    chosen = compare_counts(counts)
    small = chosen["smallest_expected"] < 5
    assert exact is not None or not small
    if exact is not None:
        assert exact == pytest.approx(table["fisher_p"], rel=1e-6)
    assert chosen["test"] == ("Fisher" if small else "chi-square")
    assert chosen["p"] == pytest.approx(table["fisher_p" if small else "chi_square_p"], rel=1e-6)


def test_ages_equal_t_test() -> None:
    found = compare_means(pd.Series(R["t_test"]["a"]), pd.Series(R["t_test"]["b"]))
    assert found["p"] == pytest.approx(R["t_test"]["p_student"], rel=1e-9)
    assert found["p_welch"] == pytest.approx(R["t_test"]["p_welch"], rel=1e-9)


def test_holm_equals_p_adjust() -> None:
    assert holm(R["holm"]["p"]) == pytest.approx(R["holm"]["adjusted"])


answers = st.integers(6, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(lambda y: 0 < sum(y) < len(y)),
        st.lists(st.integers(0, 20).map(lambda v: v / 20), min_size=n, max_size=n),
    )
)


@settings(max_examples=60, deadline=None)
@given(answers)
def test_areas_equal_scikit_learn_with_ties(drawn: tuple[list[int], list[float]]) -> None:
    idh, p = (np.array(values) for values in drawn)
    assert metrics.auroc(idh, p) == pytest.approx(roc_auc_score(idh, p))
    assert metrics.average_precision(idh, p) == pytest.approx(average_precision_score(idh, p))
    assert 0.0 <= metrics.auprc(idh, p) <= 1.0 + 1e-12


@settings(max_examples=60, deadline=None)
@given(answers)
def test_auroc_does_not_see_the_scale_and_turns_with_the_sign(
    drawn: tuple[list[int], list[float]],
) -> None:
    idh, p = (np.array(values) for values in drawn)
    assert metrics.auroc(idh, p**3 + 2) == pytest.approx(metrics.auroc(idh, p))
    assert metrics.auroc(idh, -p) == pytest.approx(1 - metrics.auroc(idh, p))
    assert delong(idh, p).value == pytest.approx(metrics.auroc(idh, p))


@settings(max_examples=40, deadline=None)
@given(answers, st.randoms(use_true_random=False))
def test_the_order_of_patients_changes_nothing(
    drawn: tuple[list[int], list[float]], random: Any
) -> None:
    idh, p = (np.array(values) for values in drawn)
    order = list(range(len(idh)))
    random.shuffle(order)
    assert metrics.auprc(idh[order], p[order]) == pytest.approx(metrics.auprc(idh, p))
    one, two = delong(idh, p), delong(idh[order], p[order])
    # One patient of a class has no variance: NaN both times.
    expected = pytest.approx((two.value, two.standard_error), nan_ok=True)
    assert (one.value, one.standard_error) == expected
    assert metrics.brier(idh[order], p[order]) == pytest.approx(metrics.brier(idh, p))


def test_equal_models_do_not_differ_and_are_not_inferior() -> None:
    idh = np.array([0, 1] * 40)
    p = np.random.default_rng(0).random(80)
    test = paired_delong(idh, p, p)
    assert (test.difference, test.standard_error) == (0.0, 0.0)
    assert np.isnan(test.p)
    assert non_inferiority(idh, p, p, margin=0.05).passed


def test_a_far_worse_model_is_inferior() -> None:
    rng = np.random.default_rng(1)
    idh = rng.integers(0, 2, 300)
    good, bad = idh + rng.normal(0, 0.5, 300), rng.random(300)
    assert not non_inferiority(idh, bad, good, margin=0.05).passed
    assert non_inferiority(idh, good, bad, margin=0.05).passed


def test_one_class_only_gives_nan_not_a_number() -> None:
    ones, p = np.ones(10, int), np.linspace(0, 1, 10)
    assert np.isnan(metrics.auroc(ones, p))
    assert np.isnan(delong(ones, p).value)
    assert np.isnan(metrics.youden_threshold(ones, p))
    assert np.isnan(metrics.calibration(ones, p).slope)


def test_wilson_covers_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for share, n in ((0.5, 40), (0.9, 30), (0.05, 60)):
        counts = rng.binomial(n, share, 3000)
        inside = [lo <= share <= hi for lo, hi in (metrics.wilson(int(c), n, 0.95) for c in counts)]
        assert np.mean(inside) == pytest.approx(0.95, abs=0.035)


def test_delong_covers_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth = stats.norm.cdf(1.0 / np.sqrt(2))
    inside = 0
    for _ in range(2000):
        idh = np.r_[np.ones(60, int), np.zeros(60, int)]
        area = delong(idh, rng.normal(idh.astype(float), 1.0))
        inside += area.low <= truth <= area.high
    assert inside / 2000 == pytest.approx(0.94, abs=0.02)
