"""Why two groups of patients differ in accuracy: chance, prevalence, threshold, or images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

POWER = 0.8
"""Chance of finding the detectable gap."""


def gap_by_chance(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Two-sided P of Fisher's exact test that two groups' (correct, patients) are alike."""
    from scipy.stats import fisher_exact

    table = [[hits, total - hits] for hits, total in (first, second)]
    return float(fisher_exact(table).pvalue)


def detectable_gap(first: tuple[int, int], second: tuple[int, int], alpha: float) -> float:
    """Smallest gap in accuracy that groups of these sizes show with POWER at `alpha`.

    Normal approximation at the pooled accuracy, kept half a patient from 0 and 1.
    """
    from scipy.special import ndtri

    total = first[1] + second[1]
    pooled = min(max((first[0] + second[0]) / total, 0.5 / total), 1 - 0.5 / total)
    error = math.sqrt(pooled * (1 - pooled) * (1 / first[1] + 1 / second[1]))
    return min(float(ndtri(1 - alpha / 2) + ndtri(POWER)) * error, 1.0)


@dataclass(frozen=True)
class GapParts:
    """A gap in accuracy as the exact sum of three parts (Kitagawa, JASA 1955).

    Attributes:
        prevalence: from other shares of mutants, at equal sensitivity and specificity.
        sensitivity, specificity: from other shares of correct calls within a class.
    """

    prevalence: float
    sensitivity: float
    specificity: float


def split_gap(best: dict[str, Any], worst: dict[str, Any]) -> GapParts:
    """Parts of accuracy(best) - accuracy(worst) of two groups with both classes."""
    share = [group["mutant"] / group["patients"] for group in (best, worst)]
    rates = {
        name: [group[name]["value"] for group in (best, worst)]
        for name in ("sensitivity", "specificity")
    }
    mean = {name: sum(pair) / 2 for name, pair in rates.items()}
    mutants = sum(share) / 2
    return GapParts(
        prevalence=(share[0] - share[1]) * (mean["sensitivity"] - mean["specificity"]),
        sensitivity=mutants * (rates["sensitivity"][0] - rates["sensitivity"][1]),
        specificity=(1 - mutants) * (rates["specificity"][0] - rates["specificity"][1]),
    )


def area_difference(
    best: dict[str, Any], worst: dict[str, Any], confidence: float
) -> dict[str, Any]:
    """{"value", "low", "high", "p"}: AUROCs of different patients, by DeLong's standard errors.

    P is NaN where neither area has a variance.
    """
    from scipy.special import ndtr, ndtri

    difference = best["auroc"]["value"] - worst["auroc"]["value"]
    error = math.hypot(best["auroc_se"], worst["auroc_se"])
    half = float(ndtri(0.5 + confidence / 2)) * error
    p = 2 * float(ndtr(-abs(difference) / error)) if error else math.nan
    return {"value": difference, "low": difference - half, "high": difference + half, "p": p}


def reading(gap: float, p: float, parts: GapParts, area_p: float, alpha: float) -> str:
    """What a gap in accuracy is most likely made of, in words."""
    if not p < alpha:
        return "chance alone could explain it"
    if abs(parts.prevalence) > abs(gap) / 2:
        return "mostly prevalence: one class is called better, and more frequent in one group"
    if area_p < alpha:
        return "the ranking differs: the images or features tell less in one group"
    return "the classes differ but the ranking is not shown to: the threshold fits one group less"
