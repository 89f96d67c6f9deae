"""How figures are written for readers: in the report, the model card, and the tables."""

from __future__ import annotations

import re
from typing import Any

from components.core.html import number
from components.core.vocabulary import Model
from components.evaluate.report import published

INPUTS = {
    Model.HYBRID.value: "images, tumour shape and loci, age",
    Model.RESNET.value: "images",
    Model.RADIOMICS.value: "tumour shape and loci, age",
    Model.AGE.value: "age",
}
"""What each model is given: the comparators are ablations of the hybrid's inputs."""


def interval(
    found: dict[str, Any] | None, digits: int = 2, between: str = " to ", missing: str = "–"
) -> str:
    """{"value", "low", "high"} -> "0.02 (−0.03 to 0.07)"; `missing` where there is no value."""
    if not found or found["value"] is None:
        return missing
    text = number(found["value"], digits)
    if found["low"] is None or found["high"] is None:
        return text
    return f"{text} ({number(found['low'], digits)}{between}{number(found['high'], digits)})"


def area(found: dict[str, Any] | None, digits: int = 2) -> str:
    """The same of a figure that cannot be negative, tighter: "0.96 (0.93–0.99)"."""
    return interval(found, digits, "–")


def rounded(found: dict[str, Any]) -> str:
    """The value alone: "0.96"."""
    return number(found["value"])


def published_range(triple: published.Triple) -> str:
    """A published (value, low, high) as the paper prints it."""
    return area(dict(zip(("value", "low", "high"), triple, strict=True)))


def mean_sd(found: dict[str, Any] | None, digits: int = 2, missing: str = "–") -> str:
    """{"mean", "sd"} -> "0.91 ± 0.04"; `missing` where there is no mean."""
    if not found or found["mean"] is None:
        return missing
    spread = "" if found["sd"] is None else f" ± {number(found['sd'], digits)}"
    return number(found["mean"], digits) + spread


def values(found: dict[str, Any] | None) -> str:
    """{"mean", "sd"} with as many decimals as the size of the mean allows."""
    if not found or found["mean"] is None:
        return "–"
    size = abs(found["mean"])
    return mean_sd(found, 0 if size >= 100 else 1 if size >= 10 else 2)


def anchor(text: str) -> str:
    """A set's or model's name as an HTML id."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()
