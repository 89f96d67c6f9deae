"""The picture of one prediction: the slices that were judged, the outline, the numbers."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.files import atomic
from components.core.html import box_around
from components.core.vocabulary import SEQUENCE_TITLES, SLICE_TITLES, Status
from components.features.feature_slice import mask_on_network
from components.release.inference.request import Answer
from components.release.manifest import FeatureReference
from components.release.prediction import Prediction
from serving.report.panels import OUTLINE, WINDOW
from serving.report.result import PatientResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

BACKGROUND, INK, QUIET = "#101418", "#f2f4f5", "#9aa5ad"
MUTANT, WILDTYPE = "#4fc3f7", "#f78fb3"
WIDTH_IN, ROW_IN, DPI = 15.0, 2.3, 110
SHOWN_FEATURES = 8
SDS_SHOWN = 3.5


def draw_prediction(path: Path, result: PatientResult) -> None:
    """Write a PNG: five axial slices of every sequence, the tumour outlined, and the numbers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = 2.3 + ROW_IN * len(result.case.sequences)
    figure = Figure(figsize=(WIDTH_IN, height), facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    ratios = [0.8, height - 1.7, 0.9]
    parts: Any = figure.subfigures(3, 1, height_ratios=ratios, hspace=0.0)
    top, middle, bottom = parts
    images, numbers = middle.subfigures(1, 2, width_ratios=[2.0, 1.0], wspace=0.0)
    for part in (top, middle, bottom, images, numbers):
        part.set_facecolor(BACKGROUND)
    _headline(top, result.prediction)
    _slices(images, result)
    _numbers(numbers, result)
    _footer(bottom, result.prediction)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=DPI, facecolor=BACKGROUND, format="png")


def figure_title(prediction: Prediction) -> str:
    """The answer in a few words."""
    words = "No tumour found"
    if prediction.probability_idh_mutant is not None:
        words = f"P(IDH mutant) = {prediction.probability_idh_mutant:.2f}"
    if prediction.status is Status.ABSTAIN:
        words = f"No answer: {words} is not to be relied on"
    return words


def shown_slices(result: PatientResult) -> tuple[int, ...]:
    """0-based z of the five slices; spread over the brain for a patient without a tumour."""
    if result.answer.slices:
        return result.answer.slices
    filled = np.flatnonzero(result.case.brain.any(axis=(1, 2)))
    return tuple(int(z) for z in np.quantile(filled, [0.3, 0.42, 0.54, 0.66, 0.78]))


def _headline(part: SubFigure, prediction: Prediction) -> None:
    words = figure_title(prediction)
    part.text(0.015, 0.62, words, color=INK, fontsize=22, weight="bold", va="center")
    volume = f"tumour {prediction.tumor_volume_ml:.1f} mL"
    said = f"patient {prediction.patient_id}   ·   {volume}   ·   research use only"
    part.text(0.015, 0.16, said, color=QUIET, fontsize=12, va="center")


def _slices(part: SubFigure, result: PatientResult) -> None:
    answer, case = result.answer, result.case
    places = shown_slices(result)
    mask = mask_on_network(answer.mask, case.grid, case.working)
    rows, columns = box_around(case.brain, rim=2)
    axes = part.subplots(
        len(case.sequences),
        len(places),
        squeeze=False,
        gridspec_kw={"wspace": 0.03, "hspace": 0.03, "left": 0.05, "right": 0.99,
                     "top": 0.93, "bottom": 0.01},
    )  # fmt: skip
    aspect = case.grid.spacing[1] / case.grid.spacing[0]
    for row, sequence in enumerate(case.sequences):
        volume = case.volume(sequence)
        for column, z in enumerate(places):
            axis = axes[row, column]
            shown = np.where(case.brain, volume, np.nan)[z, rows, columns]
            _image(axis, shown, mask[z, rows, columns], aspect)
            if row == 0:
                axis.set_title(_slice_title(answer, column), color=QUIET, fontsize=10)
        axes[row, 0].set_ylabel(SEQUENCE_TITLES[sequence], color=INK, fontsize=12, weight="bold")
    # LPS axes: x runs to the patient's left, so the patient's right is on the left of the picture.
    axes[-1, 0].text(0.03, 0.04, "R", color=INK, fontsize=10, transform=axes[-1, 0].transAxes)


def _slice_title(answer: Answer, column: int) -> str:
    if answer.slice_probabilities is None or answer.slices is None:
        return ""
    return f"{SLICE_TITLES[column]}   P = {answer.slice_probabilities[column]:.2f}"


def _image(axis: Axes, values: np.ndarray, mask: np.ndarray, aspect: float) -> None:
    low, high = WINDOW
    axis.imshow(values, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="bilinear")
    if mask.any():
        axis.contour(mask, levels=[0.5], colors=[OUTLINE], linewidths=1.4)
    axis.set(xticks=[], yticks=[], facecolor="black")
    for spine in axis.spines.values():
        spine.set_visible(False)


def _numbers(part: SubFigure, result: PatientResult) -> None:
    answer = result.answer
    if answer.probability is None or answer.features is None:
        return
    scale, table = part.subplots(
        2,
        1,
        gridspec_kw={"height_ratios": [0.4, 2.2], "left": 0.47, "right": 0.94, "hspace": 0.5,
                     "top": 0.90, "bottom": 0.08},
    )  # fmt: skip
    _scale(scale, answer)
    _features(table, answer.features, result.contents.features)


def _scale(axis: Axes, answer: Answer) -> None:
    """Probability from wildtype to mutant: the patient's, and its slices'."""
    assert answer.probability is not None
    assert answer.slice_probabilities is not None
    axis.axvspan(0.0, 0.5, color=WILDTYPE, alpha=0.25, lw=0)
    axis.axvspan(0.5, 1.0, color=MUTANT, alpha=0.25, lw=0)
    axis.plot(answer.slice_probabilities, [0.0] * 5, "o", color=QUIET, ms=6, alpha=0.8)
    axis.plot([answer.probability], [0.0], "D", color=INK, ms=11)
    axis.set(xlim=(0, 1), ylim=(-1, 1), yticks=[], xticks=[0, 0.25, 0.5, 0.75, 1])
    axis.set_title("five slices, and their mean", color=INK, fontsize=10)
    for place, word, ink in ((0.02, "wildtype", WILDTYPE), (0.98, "mutant", MUTANT)):
        side = "left" if place < 0.5 else "right"
        axis.text(place, 0.72, word, color=ink, fontsize=9, ha=side, va="center")
    _bare(axis)


def _features(axis: Axes, found: dict[str, float], reference: dict[str, FeatureReference]) -> None:
    """The features with the smallest P in training, in SDs from the training patients' mean."""
    names = sorted(reference, key=lambda name: reference[name].p)[:SHOWN_FEATURES][::-1]
    distance = [
        (found[name] - reference[name].mean) / max(reference[name].sd, 1e-12) for name in names
    ]
    axis.axvspan(-1, 1, color=QUIET, alpha=0.18, lw=0)
    axis.axvline(0, color=QUIET, lw=0.8)
    axis.plot(np.clip(distance, -SDS_SHOWN, SDS_SHOWN), range(len(names)), "D", color=OUTLINE, ms=7)
    axis.set(xlim=(-SDS_SHOWN - 0.3, SDS_SHOWN + 0.3), ylim=(-0.6, len(names) - 0.4))
    axis.set_yticks(range(len(names)), [f"{n}  {found[n]:.3g}" for n in names])
    axis.set_title("SDs from the training patients' mean", color=INK, fontsize=10)
    _bare(axis)


def _bare(axis: Axes) -> None:
    axis.set_facecolor(BACKGROUND)
    axis.tick_params(colors=QUIET, labelsize=9, length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _footer(part: SubFigure, prediction: Prediction) -> None:
    trained = (
        f"{prediction.release}, profile {prediction.profile}, trained on {prediction.trained_on}"
    )
    part.text(0.015, 0.78, trained, color=QUIET, fontsize=10, va="center")
    warnings = textwrap.wrap("; ".join(prediction.warnings), 190, max_lines=2, placeholder=" ...")
    part.text(0.015, 0.34, "\n".join(warnings), color=OUTLINE, fontsize=10, va="center")
