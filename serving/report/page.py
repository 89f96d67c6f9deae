"""prediction.html: one answer on one page that needs no network and fits a sheet of A4."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from components.cohort.prepared import PreparedCase
from components.core.files import atomic
from components.core.html import number, template
from components.core.vocabulary import SEQUENCE_TITLES, SLICE_OFFSETS, Sequence
from components.features.feature_slice import mask_on_network
from components.release.inference.request import Answer
from components.release.manifest import Contents, FeatureReference
from serving.report.explanation import Explained
from serving.report.figure import brain_box, figure_title, judged_slices
from serving.report.panels import panel

STRONGEST = 99.5
"""Percentile of a patient's saliency that is drawn at full strength."""

SDS_SHOWN = 4.0
"""Standard deviations to either side of the training patients' mean that fit the scale."""


def write_page(
    path: Path,
    content: dict[str, Any],
    answer: Answer,
    case: PreparedCase,
    contents: Contents,
    explained: Explained | None = None,
) -> None:
    """Write the page of one answer.

    Args:
        content: as in prediction.json; see serving.report.files.describe.
        explained: adds the saliency of both sequences.
    """
    page = template(
        Path(__file__).with_name("prediction.html.j2"),
        number=number,
        short=short,
        breakable=breakable,
    )
    text = page.render(
        content=content,
        headline=figure_title(content),
        limits=contents,
        slices=[_named(column) for column in range(len(SLICE_OFFSETS))],
        rows=_rows(answer, case, explained),
        features=_features(answer.features, contents.features),
        sds=SDS_SHOWN,
    )
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def short(value: float) -> str:
    """Three significant digits, and all that stand before the point."""
    size = abs(value)
    return number(value, 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3)


def breakable(name: str) -> str:
    """A name in CamelCase that may go on in a second line."""
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])", "\u200b", name)


def _named(column: int) -> str:
    offset = SLICE_OFFSETS[column]
    return "largest area" if offset == 0 else f"{offset:+d} slices".replace("-", "−")


def _rows(answer: Answer, case: PreparedCase, explained: Explained | None) -> list[dict[str, Any]]:
    """A row a sequence, and below it where the network looked: title and five pictures."""
    rows = []
    for sequence in case.sequences:
        name = SEQUENCE_TITLES[sequence]
        outlined = "tumour outlined" if answer.slices else "no tumour found"
        rows.append(_row(name, f"{name}, {outlined}", answer, case, sequence, None))
        heat = explained.saliency_of(sequence) if explained else None
        if heat is not None:
            told = f"{name}, saliency laid over"
            rows.append(_row(f"{name}, where it looked", told, answer, case, sequence, heat))
    return rows


def _row(
    title: str,
    told: str,
    answer: Answer,
    case: PreparedCase,
    sequence: Sequence,
    heat: np.ndarray | None,
) -> dict[str, Any]:
    mask = mask_on_network(answer.mask, case.grid, case.working)
    volume = np.where(case.brain, case.volume(sequence), np.nan)
    box = brain_box(case.brain)
    aspect = case.grid.spacing[1] / case.grid.spacing[0]
    strongest = 0.0 if heat is None else float(np.percentile(heat, STRONGEST))
    panels = []
    for column, z in enumerate(judged_slices(answer, case)):
        warmth = heat[column][box] / strongest if heat is not None and strongest > 0 else None
        where = f"{_named(column)}" if answer.slices else f"slice {z}"
        picture = panel(volume[z][box], mask[z][box], aspect, warmth)
        panels.append({"png": picture, "alt": f"{told}; {where}"})
    return {"title": title, "panels": panels}


def _features(
    found: dict[str, float] | None, reference: dict[str, FeatureReference]
) -> list[dict[str, Any]]:
    """What the classifier read, beside the training patients; the most telling of IDH first."""
    if found is None:
        return []
    names = sorted(reference, key=lambda name: reference[name].p)
    return [
        {
            "name": name,
            "value": found[name],
            "mean": reference[name].mean,
            "sd": reference[name].sd,
            "away": (found[name] - reference[name].mean) / max(reference[name].sd, 1e-12),
        }
        for name in names
    ]
