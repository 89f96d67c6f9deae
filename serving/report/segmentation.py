"""segmentation.html: the outline of one tumour, on one page that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from components.cohort.prepared import PreparedCase
from components.core.files import write_text
from components.core.html import box_around, template
from components.core.vocabulary import SEQUENCE_TITLES, Sequence
from components.features.feature_slice import mask_on_network
from serving.report.panels import panel

PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Quantiles of the tumour's height, or the brain's, at which slices are shown."""


def write_segmentation_page(
    path: Path, content: dict[str, Any], case: PreparedCase, mask: np.ndarray
) -> None:
    """Write the page.

    Args:
        content: as in segmentation.json; see serving.segmentation.segment_patient.
        case: the prepared images; its T1C is the sequence named by content's `grid_of`.
        mask: bool (z, y, x) on `case.working`.
    """
    page = template(Path(__file__).with_name("segmentation.html.j2"))
    outline = mask_on_network(mask, case.grid, case.working)
    shown = outline if outline.any() else case.brain
    filled = np.flatnonzero(shown.any(axis=(1, 2)))
    slices = [int(z) for z in np.quantile(filled, PLACES)]
    rows = [_row(case, sequence, content, outline, slices) for sequence in case.sequences]
    write_text(path, page.render(content=content, rows=rows))


def _row(
    case: PreparedCase,
    sequence: Sequence,
    content: dict[str, Any],
    outline: np.ndarray,
    slices: list[int],
) -> dict[str, Any]:
    # Preprocessing takes its reference for a T1C, whatever it is.
    own = Sequence(content["grid_of"]) if sequence is Sequence.T1C else sequence
    title = SEQUENCE_TITLES[own]
    volume = np.where(case.brain, case.volume(sequence), np.nan)
    box = box_around(case.brain, rim=2)
    aspect = case.grid.spacing[1] / case.grid.spacing[0]
    found = "tumour outlined" if outline.any() else "no tumour found"
    panels = [
        {
            "png": panel(volume[z][box], outline[z][box], aspect),
            "alt": f"{title}, slice {z}, {found}",
        }
        for z in slices
    ]
    return {"title": title, "panels": panels}
