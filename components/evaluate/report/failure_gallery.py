"""The failure gallery: the most confident wrong calls of a set, with what the model saw."""

from __future__ import annotations

import base64
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.core.html import box_around
from components.core.vocabulary import FEATURE_NAMES, SLICE_OFFSETS
from components.evaluate.read_tables import ModelPredictions
from components.evaluate.settings import EvaluateSettings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

log = logging.getLogger(__name__)

SHOWN_FEATURES = ("age", "tumor_ml", "Sphericity", "Frontal Lobe", "Temporal Lobe", "dice")
"""Columns of features.csv that a failure is shown with, where known."""

_MIDDLE = SLICE_OFFSETS.index(0)


@dataclass(frozen=True)
class WrongCall:
    """One wrong call.

    Attributes:
        kind: "false positive" or "false negative".
        probability: P(IDH mutant).
        features: name -> value, of SHOWN_FEATURES.
        unusual: the three features furthest from the set's mean, in SDs.
        image: float32 (channel, y, x) of the slice of largest tumour area: two sequences, then the
            mask; None where there is none.
        saliency: float32 (channel, y, x) of that slice, a map for each sequence; None where there
            is none.
    """

    patient_id: str
    kind: str
    probability: float
    features: dict[str, float]
    unusual: dict[str, float]
    image: np.ndarray | None
    saliency: np.ndarray | None


def find_failures(
    answers: ModelPredictions,
    people: pd.DataFrame,
    samples: Path | None,
    settings: EvaluateSettings,
    saliency: Path | None = None,
) -> list[WrongCall]:
    """The worst false positives, then the worst false negatives, `settings.gallery` of each.

    Args:
        people: one row a patient, indexed by patient_id.
        samples: folder with images/<patient_id>.npy float32 (5, 3, y, x).
        saliency: folder with <patient_id>.npy float32 (5, channel, y, x), where a patient has it.
    """
    called = np.nan_to_num(answers.probability, nan=-1.0) >= settings.threshold
    order = np.lexsort((answers.patient_id, answers.probability))
    positives = [i for i in order[::-1] if called[i] and answers.idh[i] == 0]
    negatives = [i for i in order if answers.answered[i] and not called[i] and answers.idh[i] == 1]
    spread = _spread(people).T
    return [
        _failure(answers, int(index), kind, people, spread, samples, saliency)
        for kind, found in (("false positive", positives), ("false negative", negatives))
        for index in found[: settings.gallery]
    ]


def _failure(
    answers: ModelPredictions,
    index: int,
    kind: str,
    people: pd.DataFrame,
    spread: pd.DataFrame,
    samples: Path | None,
    saliency: Path | None,
) -> WrongCall:
    name = str(answers.patient_id[index])
    row = people.T[name]
    known = [column for column in SHOWN_FEATURES if column in row and row[column] == row[column]]
    distance = spread[name].dropna()
    furthest = (-distance.abs()).sort_values(kind="stable").index[:3]
    return WrongCall(
        name,
        kind,
        float(answers.probability[index]),
        {column: float(row[column]) for column in known},
        {str(column): float(distance[column]) for column in furthest},
        _middle(None if samples is None else samples / "images", name, channels=3),
        _middle(saliency, name, channels=2),
    )


def _spread(people: pd.DataFrame) -> pd.DataFrame:
    """Every numeric feature in SDs from the set's mean."""
    names = [name for name in FEATURE_NAMES if name in people]
    values = people[names].astype(float)
    deviation = values.std(ddof=1)
    return (values - values.mean()) / deviation.where(deviation > 0)


def _middle(folder: Path | None, patient: str, *, channels: int) -> np.ndarray | None:
    """Slice of largest tumour area of a patient's array (5, channel, y, x)."""
    path = None if folder is None else folder / f"{patient}.npy"
    if path is None or not path.is_file():
        return None
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        log.warning("%s cannot be shown: %s", path, error)
        return None
    if array.ndim != 4 or array.shape[1] < channels:
        return None
    return array[min(_MIDDLE, len(array) - 1)].astype(np.float32)


def failure_png(failure: WrongCall) -> str | None:
    """PNG (base64) of the slice a wrong call was made on, the mask outlined; None without image.

    A row a sequence: the image and, where it is known, the image again with its saliency. Without
    saliency the sequences stand side by side.
    """
    if failure.image is None:
        return None
    box = box_around(failure.image[:-1], rim=1)
    *sequences, mask = (channel[box] for channel in failure.image)
    strongest = 0.0 if failure.saliency is None else float(np.percentile(failure.saliency, 99.5))
    grid: list[list[tuple[np.ndarray, np.ndarray | None]]] = [[(one, None) for one in sequences]]
    if failure.saliency is not None and strongest > 0:
        heats = np.clip(failure.saliency / strongest, 0.0, 1.0)
        grid = [
            [(image, None), (image, heat[box])]
            for image, heat in zip(sequences, heats, strict=True)
        ]
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = len(grid), len(grid[0])
    height = 1.5 * mask.shape[0] / mask.shape[1]
    figure = Figure(figsize=(1.5 * columns, height * rows), dpi=110, facecolor="black")
    FigureCanvasAgg(figure)
    for row, panels in enumerate(grid):
        for column, panel in enumerate(panels):
            place = (column / columns, 1 - (row + 1) / rows, 1 / columns, 1 / rows)
            _failure_panel(figure.add_axes(place), *panel, mask)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", facecolor="black", metadata={"Software": None})
    return base64.b64encode(stream.getvalue()).decode()


def _failure_panel(
    axes: Axes, image: np.ndarray, heat: np.ndarray | None, mask: np.ndarray
) -> None:
    inside = image[image != 0]
    low, high = np.percentile(inside, [1, 99]) if inside.size else (0.0, 1.0)
    axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
    if heat is not None:
        axes.imshow(heat, cmap="inferno", alpha=0.85 * np.sqrt(heat), vmin=0, vmax=1)
    if mask.max() > 0.5 > mask.min():
        axes.contour(mask, levels=[0.5], colors="#E69F00", linewidths=1.0)
    axes.set_axis_off()
