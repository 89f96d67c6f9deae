"""The picture of one explanation: the slices, and over them where the hybrid looked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.classify.explanation.saliency import Explanation
from components.core.files import atomic
from components.core.html import box_around
from components.core.vocabulary import SEQUENCE_TITLES, SLICE_TITLES, Sequence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BACKGROUND, INK, QUIET, OUTLINE = "#101418", "#f2f4f5", "#9aa5ad", "#ffb000"
STRONGEST = 99.5
"""Percentile of a patient's saliency that is drawn at full strength."""


def draw_explanation(
    path: Path,
    images: np.ndarray,
    explanation: Explanation,
    channels: tuple[Sequence, Sequence],
    heading: str,
    *,
    aspect: float = 1.0,
) -> None:
    """Write a PNG: every slice of both sequences, its saliency, and Grad-CAM, tumour outlined.

    Args:
        images: [5, 3, y, x] of one patient; explanation: of that patient alone (B = 1).
        aspect: height of a pixel, its width being 1.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows: list[tuple[str, np.ndarray, np.ndarray | None]] = []
    for channel, sequence in enumerate(channels):
        name = SEQUENCE_TITLES[sequence]
        heat = explanation.saliency[0, :, channel]
        rows += [(name, images[:, channel], None), (f"{name}\nsaliency", images[:, channel], heat)]
    rows.append(("Grad-CAM", images[:, 0], explanation.grad_cam[0]))
    box = box_around(images[:, :2], rim=1)
    figure = Figure(figsize=(11.0, 1.0 + 2.05 * len(rows)), facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    top = 1.0 - 0.75 / figure.get_figheight()
    layout = {"left": 0.08, "right": 0.995, "top": top, "bottom": 0.03, "wspace": 0.02}
    axes = figure.subplots(
        len(rows), len(images), squeeze=False, gridspec_kw={**layout, "hspace": 0.03}
    )
    figure.text(0.012, 1.0 - 0.3 / figure.get_figheight(), heading, color=INK, fontsize=13)
    for line, (name, shown, warmth) in enumerate(rows):
        for column, axis in enumerate(axes[line]):
            mask = images[column, 2][box]
            _panel(axis, shown[column][box], mask, aspect)
            if warmth is not None:
                strongest = float(np.percentile(warmth, STRONGEST))
                _overlay(axis, warmth[column][box], strongest, aspect)
            if line == 0:
                axis.set_title(SLICE_TITLES[column], color=QUIET, fontsize=10)
        axes[line, 0].set_ylabel(name, color=INK, fontsize=11, weight="bold")
    figure.text(
        0.012, 0.008,
        "Saliency: absolute gradient of the log-odds, share of the slice. Grad-CAM: evidence for "
        "the call. Both tell where the network looked, not why. Research use only.",
        color=QUIET, fontsize=9,
    )  # fmt: skip
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110, facecolor=BACKGROUND, format="png")


def _panel(axis: Axes, image: np.ndarray, mask: np.ndarray, aspect: float) -> None:
    shown = np.ma.masked_equal(image, 0.0)
    axis.imshow(shown, cmap="gray", vmin=0.25, vmax=0.85, aspect=aspect, interpolation="bilinear")
    if mask.max() > 0.5 > mask.min():
        axis.contour(mask, levels=[0.5], colors=[OUTLINE], linewidths=1.2)
    axis.set(xticks=[], yticks=[], facecolor="black")
    for spine in axis.spines.values():
        spine.set_visible(False)


def _overlay(axis: Axes, heat: np.ndarray, strongest: float, aspect: float) -> None:
    scaled = np.clip(heat / strongest, 0.0, 1.0) if strongest > 0 else np.zeros_like(heat)
    axis.imshow(
        scaled, cmap="inferno", alpha=0.85 * np.sqrt(scaled), vmin=0, vmax=1, aspect=aspect,
        interpolation="bilinear",
    )  # fmt: skip
