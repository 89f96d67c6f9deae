"""Everything said about one model on one set: figures, intervals, counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from components.evaluate.read_tables import ModelPredictions
from components.evaluate.settings import EvaluateSettings
from components.evaluate.statistics import metrics
from components.evaluate.statistics.bootstrap import Interval, bootstrap
from components.evaluate.statistics.delong import delong


def patient_block(
    answers: ModelPredictions, settings: EvaluateSettings, tuned: tuple[float, str] | None = None
) -> dict[str, Any]:
    """Performance per patient, JSON-ready; a figure that does not exist is None.

    Accuracy, sensitivity and specificity count a patient without an answer (no tumour found) as
    wrong: the model cannot win by declining. Areas, PPV, NPV and calibration exist only where there
    is a probability. `accuracy_answered` leaves the unanswered out.

    Args:
        tuned: a threshold tuned elsewhere and where (never on these patients).
    """
    seen = answers.answered
    idh, probability = answers.idh[seen], answers.probability[seen]
    intervals = bootstrap(idh, probability, settings) if len(idh) else {}
    block: dict[str, Any] = {
        "patients": len(answers.idh),
        "mutant": int(answers.idh.sum()),
        "wildtype": int((answers.idh == 0).sum()),
        "unanswered": int((~seen).sum()),
        "unknown_idh": answers.unknown,
        "abstained": int(answers.abstained.sum()),
        **_decisions(answers, settings.threshold, settings),
        **_areas(idh, probability, intervals, settings),
        **_calibration(idh, probability, intervals, settings),
        "tuned": None,
    }
    if tuned is not None and not math.isnan(tuned[0]):
        at_tuned = _decisions(answers, tuned[0], settings)
        block["tuned"] = {"threshold": tuned[0], "tuned_on": tuned[1], **at_tuned}
    kept = seen & ~answers.abstained
    sure = metrics.Confusion.at(answers.idh[kept], answers.probability[kept], settings.threshold)
    block["accuracy_without_abstained"] = metrics.share(*sure.proportions["accuracy"])
    return without_nan(block)


def slice_block(
    answers: ModelPredictions, settings: EvaluateSettings, tuned: tuple[float, str] | None = None
) -> dict[str, Any] | None:
    """Performance per slice, intervals by resampling patients; None without slices.

    Args:
        tuned: as in `patient_block`.
    """
    if not len(answers.slice_patient):
        return None
    idh, probability = answers.idh[answers.slice_patient], answers.slice_probability
    names, patient = np.unique(answers.slice_patient, return_inverse=True)
    intervals = bootstrap(idh, probability, settings, patient=patient)
    block = {
        "slices": len(idh),
        "patients": len(names),
        **_slice_decisions(idh, probability, settings.threshold, intervals),
        "auroc": _with(metrics.auroc(idh, probability), intervals, "auroc"),
        **_precision(idh, probability, intervals),
        **_calibration(idh, probability, intervals, settings, patient),
        "tuned": None,
    }
    if tuned is not None and not math.isnan(tuned[0]):
        again = bootstrap(idh, probability, settings, patient=patient, threshold=tuned[0])
        at_tuned = _slice_decisions(idh, probability, tuned[0], again)
        block["tuned"] = {"threshold": tuned[0], "tuned_on": tuned[1], **at_tuned}
    return without_nan(block)


def _slice_decisions(
    idh: np.ndarray, probability: np.ndarray, threshold: float, intervals: dict[str, Interval]
) -> dict[str, Any]:
    """The 2 x 2 figures of slices at one threshold, with intervals found there."""
    confusion = metrics.Confusion.at(idh, probability, threshold)
    shares = {
        name: _with(metrics.share(*counts), intervals, name)
        for name, counts in confusion.proportions.items()
    }
    return {
        "accuracy": shares.pop("accuracy")["value"],
        "accuracy_ci": _limits(intervals["accuracy"]),
        "balanced_accuracy": confusion.balanced_accuracy,
        "balanced_accuracy_ci": _limits(intervals["balanced_accuracy"]),
        **shares,
    }


def correct(answers: ModelPredictions, threshold: float) -> np.ndarray:
    """bool [n]: the call at the threshold agrees with the truth; no answer is not correct."""
    called = np.nan_to_num(answers.probability, nan=-1.0) >= threshold
    return answers.answered & (called == (answers.idh == 1))


def _decisions(
    answers: ModelPredictions, threshold: float, settings: EvaluateSettings
) -> dict[str, Any]:
    """The 2 x 2 figures at one threshold, Wilson intervals; the unanswered are wrong."""
    seen = answers.answered
    found = metrics.Confusion.at(answers.idh[seen], answers.probability[seen], threshold)
    silent_mutants = int((~seen & (answers.idh == 1)).sum())
    silent_wildtypes = int((~seen & (answers.idh == 0)).sum())
    shares = found.proportions
    shares["sensitivity"] = (shares["sensitivity"][0], shares["sensitivity"][1] + silent_mutants)
    shares["specificity"] = (shares["specificity"][0], shares["specificity"][1] + silent_wildtypes)
    right, answered = shares["accuracy"]
    accuracy = metrics.proportion(right, len(seen), settings.confidence)
    proportions = {
        name: metrics.proportion(*shares[name], settings.confidence)
        for name in ("sensitivity", "specificity", "ppv", "npv")
    }
    return {
        "accuracy": accuracy.pop("value"),
        "accuracy_ci": accuracy,
        "accuracy_answered": metrics.share(right, answered),
        **_balanced(proportions["sensitivity"], proportions["specificity"]),
        **proportions,
        "confusion": vars(found),
    }


def _balanced(one: dict[str, float], two: dict[str, float]) -> dict[str, Any]:
    """Mean of two proportions of different patients; their Wilson limits squared and added."""
    value = (one["value"] + two["value"]) / 2
    down = math.hypot(one["value"] - one["low"], two["value"] - two["low"]) / 2
    up = math.hypot(one["high"] - one["value"], two["high"] - two["value"]) / 2
    limits = {"low": value - down, "high": value + up}
    return {"balanced_accuracy": value, "balanced_accuracy_ci": limits}


def _areas(
    idh: np.ndarray,
    probability: np.ndarray,
    intervals: dict[str, Interval],
    settings: EvaluateSettings,
) -> dict[str, Any]:
    area = delong(idh, probability, settings.confidence)
    found = _with(area.value, intervals, "auroc")
    if area.value in (0.0, 1.0):
        # Every resample of a perfect ranking is perfect: the bootstrap has nothing to say.
        found |= {"low": area.low, "high": area.high}
    return {
        "auroc": {
            **found,
            "delong_low": area.low,
            "delong_high": area.high,
            "delong_se": area.standard_error,
        },
        **_precision(idh, probability, intervals),
    }


def _precision(
    idh: np.ndarray, probability: np.ndarray, intervals: dict[str, Interval]
) -> dict[str, Any]:
    average = metrics.average_precision(idh, probability)
    return {
        "auprc": _with(metrics.auprc(idh, probability), intervals, "auprc"),
        "average_precision": _with(average, intervals, "average_precision"),
    }


def _calibration(
    idh: np.ndarray,
    probability: np.ndarray,
    intervals: dict[str, Interval],
    settings: EvaluateSettings,
    patient: np.ndarray | None = None,
) -> dict[str, Any]:
    error = metrics.expected_calibration_error(idh, probability, settings.calibration_bins)
    return {
        "brier": _with(metrics.brier(idh, probability), intervals, "brier"),
        "ece": _shifted(error, intervals),
        "calibration": recalibration(idh, probability, settings.confidence, patient),
    }


def recalibration(
    idh: np.ndarray,
    probability: np.ndarray,
    confidence: float,
    patient: np.ndarray | None = None,
) -> dict[str, dict[str, float]]:
    """Slope, intercept and calibration in the large with Wald intervals; `metrics.calibration`."""
    from scipy.special import ndtri

    z = float(ndtri(0.5 + confidence / 2))
    fit = metrics.calibration(idh, probability, patient)
    return {
        name: {"value": value, "low": value - z * se, "high": value + z * se}
        for name, value, se in (
            ("slope", fit.slope, fit.slope_error),
            ("intercept", fit.intercept, fit.intercept_error),
            ("in_the_large", fit.in_the_large, fit.in_the_large_error),
        )
    }


def _with(value: float, intervals: dict[str, Interval], name: str) -> dict[str, float]:
    """A value with its bootstrap interval; a value that does not exist has none."""
    found = intervals.get(name)
    if found is None or math.isnan(value):
        return {"value": value, "low": math.nan, "high": math.nan}
    return {"value": value, **_limits(found)}


def _shifted(value: float, intervals: dict[str, Interval]) -> dict[str, float]:
    """The calibration error, with its interval moved back by what resampling itself adds to it.

    A resample repeats patients, so that its bins stray further from the diagonal than the sample's.
    """
    found = _with(value, intervals, "ece")
    if not math.isnan(found["low"]):
        rise = intervals["ece"].mean - value
        found |= {key: max(found[key] - rise, 0.0) for key in ("low", "high")}
    return found


def _limits(interval: Interval) -> dict[str, float]:
    return {"low": interval.low, "high": interval.high}


def without_nan(content: Any) -> Any:
    """The same nested content with None for every NaN and infinity, and plain Python numbers."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
