"""prediction.html: one answer on one page that needs no network; in print, a sheet of A4."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from components.core.files import write_text
from components.core.html import box_around, number, template
from components.core.vocabulary import SEQUENCE_TITLES, SLICE_TITLES, Sequence
from components.features.feature_slice import mask_on_network
from components.release.manifest import FeatureReference
from serving.report.figure import figure_title, shown_slices
from serving.report.panels import panel
from serving.report.result import PatientResult
from serving.report.viewer.embed import make_viewer

STRONGEST = 99.5
"""Percentile of a patient's saliency that is drawn at full strength."""

SDS_SHOWN = 4.0
"""Standard deviations to either side of the training patients' mean that fit the scale."""

_TITLES = [title.replace("-", "−") for title in SLICE_TITLES]


def write_page(path: Path, result: PatientResult, *, interactive: bool = False) -> None:
    """Write the page of one answer; an explained one has the saliency of both sequences.

    Args:
        interactive: adds the view that scrolls through the volumes, some MB.
    """
    page = template(
        Path(__file__).with_name("prediction.html.j2"), short=short, breakable=breakable
    )
    text = page.render(
        content=result.prediction.content(),
        headline=figure_title(result.prediction),
        limits=result.contents.limits,
        slices=_TITLES,
        rows=_rows(result),
        features=_features(result.answer.features, result.contents.features),
        sds=SDS_SHOWN,
        atlas=result.contents.plan.atlas.source,
        viewer=make_viewer(result) if interactive else None,
    )
    write_text(path, text)


def short(value: float) -> str:
    """Three significant digits, and all that stand before the point."""
    size = abs(value)
    return number(value, 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3)


def breakable(name: str) -> str:
    """A name in CamelCase that may go on in a second line."""
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])", "\u200b", name)


def _rows(result: PatientResult) -> list[dict[str, Any]]:
    """A row a sequence, and below it where the network looked: title and five pictures."""
    rows = []
    for sequence in result.case.sequences:
        name = SEQUENCE_TITLES[sequence]
        outlined = "tumour outlined" if result.answer.slices else "no tumour found"
        rows.append(_row(name, f"{name}, {outlined}", result, sequence, None))
        heat = result.explained.saliency_of(sequence) if result.explained else None
        if heat is not None:
            told = f"{name}, saliency laid over"
            rows.append(_row(f"{name}, where it looked", told, result, sequence, heat))
    return rows


def _row(
    title: str,
    told: str,
    result: PatientResult,
    sequence: Sequence,
    heat: np.ndarray | None,
) -> dict[str, Any]:
    answer, case = result.answer, result.case
    mask = mask_on_network(answer.mask, case.grid, case.working)
    volume = np.where(case.brain, case.volume(sequence), np.nan)
    box = box_around(case.brain, rim=2)
    aspect = case.grid.spacing[1] / case.grid.spacing[0]
    strongest = 0.0 if heat is None else float(np.percentile(heat, STRONGEST))
    panels = []
    for column, z in enumerate(shown_slices(result)):
        warmth = heat[column][box] / strongest if heat is not None and strongest > 0 else None
        where = _TITLES[column] if answer.slices else f"slice {z}"
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
