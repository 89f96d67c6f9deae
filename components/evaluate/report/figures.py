"""Figures of the report as SVG text: colour-blind safe, told apart by line as well as by colour.

Colours are those of Okabe and Ito. Text stays text, so that it scales, prints and can be read out.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.vocabulary import Model
from components.evaluate.report.failure_gallery import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODEL_LABELS = {
    Model.HYBRID.value: "hybrid",
    Model.RESNET.value: "ResNet (images)",
    Model.RADIOMICS.value: "forest (shape, loci, age)",
    Model.AGE.value: "age alone",
}

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 2)))
_GREY = "#767676"
_SIZE = (4.4, 3.9)
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": True,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fontsize": 8.5,
}


@dataclass(frozen=True)
class Drawing:
    """One figure: SVG text, what it shows in words (for who cannot see it), and its caption."""

    name: str
    svg: str
    alt: str
    caption: str


def label_of(model: str) -> str:
    """How a model is called in figures and tables; an ablation goes by its own name."""
    return MODEL_LABELS.get(model, model.replace("_", " "))


def hybrid_figures(result: dict[str, Any]) -> list[Drawing]:
    """ROC and precision-recall curves of the hybrid on every set (the paper's Fig. 3)."""
    model = Model.HYBRID.value
    sets = {name: block for name, block in result["curves"].items() if model in block}
    lines = [
        (f"{name} ({_value(result['sets'][name][model]['auroc'])})", block[model])
        for name, block in sets.items()
    ]
    areas = [
        (f"{name} ({_value(result['sets'][name][model]['auprc'])})", block[model])
        for name, block in sets.items()
    ]
    if not lines:
        return []
    told = "; ".join(label for label, _ in lines)
    told_pr = "; ".join(label for label, _ in areas)
    return [
        _roc("hybrid-roc", lines, f"ROC curves of the hybrid; AUROC by set: {told}.",
             "ROC curve of the hybrid on every set, with its AUROC."),
        _pr("hybrid-pr", areas,
            f"Precision-recall curves of the hybrid; AUPRC by set: {told_pr}.",
            "Precision-recall curve of the hybrid on every set, with its AUPRC."),
    ]  # fmt: skip


def set_figures(name: str, result: dict[str, Any]) -> list[Drawing]:
    """ROC, precision-recall, calibration, decision and risk-coverage curves of one set."""
    blocks, scores = result["curves"][name], result["sets"][name]
    roc = [(f"{label_of(m)} ({_value(scores[m]['auroc'])})", b) for m, b in blocks.items()]
    pr = [(f"{label_of(m)} ({_value(scores[m]['auprc'])})", b) for m, b in blocks.items()]
    found = [
        _roc(f"{name}-roc", roc, f"ROC curves on {name}; AUROC: {_told(roc)}.",
             f"ROC curves of every model on {name}, with their AUROC."),
        _pr(f"{name}-pr", pr, f"Precision-recall curves on {name}; AUPRC: {_told(pr)}.",
            f"Precision-recall curves of every model on {name}, with their AUPRC."),
    ]  # fmt: skip
    if Model.HYBRID.value in blocks:
        hybrid = blocks[Model.HYBRID.value]
        found.append(_calibration(name, hybrid["calibration"]))
        found.append(_risk_coverage(name, hybrid["risk_coverage"]))
    found.append(_decision(name, blocks))
    return found


def forest_figure(name: str, block: dict[str, Any], overall: dict[str, Any]) -> Drawing | None:
    """Accuracy and AUROC of every subgroup of one set, with intervals; None without subgroups."""
    groups = block["groups"]
    if not groups:
        return None
    rows: list[tuple[str, dict[str, Any] | None]] = []
    for index, group in enumerate(groups):
        if index == 0 or groups[index - 1]["attribute"] != group["attribute"]:
            rows.append((group["attribute"], None))
        rows.append((f"{group['group']} (n = {group['patients']})", group))
    with canvas((8.2, 0.9 + 0.27 * len(rows)), columns=2) as (figure, axes):
        _forest_panel(axes[0], rows, "accuracy", overall["accuracy"])
        _forest_panel(axes[1], rows, "auroc", overall["auroc"]["value"])
        axes[0].set_yticks(range(len(rows)), [label for label, _ in rows])
        for tick, (_, group) in zip(axes[0].get_yticklabels(), rows, strict=True):
            tick.set_fontweight("bold" if group is None else "normal")
        axes[1].set_yticks(range(len(rows)), [""] * len(rows))
        svg = svg_of(figure, f"{name}-forest")
    told = "; ".join(
        f"{g['attribute']} {g['group']}: {_value(g['accuracy'])}" for g in groups if g["patients"]
    )
    return Drawing(
        f"{name}-forest", svg, f"Accuracy of the hybrid by subgroup on {name}: {told}.",
        f"Accuracy and AUROC of the hybrid in subgroups of {name}, with 95 % intervals. Dashed: all"
        " patients. Hollow: a group too small to say.",
    )  # fmt: skip


def failure_png(failure: Failure) -> str | None:
    """PNG (base64) of the slice a wrong call was made on, the mask outlined; None without image.

    A row a sequence: the image and, where it is known, the image again with its saliency. Without
    saliency the sequences stand side by side.
    """
    if failure.image is None:
        return None
    box = _brain_box(failure.image[:-1].max(axis=0))
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


def _brain_box(brain: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns in which anything is; all of them in an empty image."""
    if not brain.any():
        return slice(None), slice(None)
    filled = [np.flatnonzero((brain != 0).any(axis=axis)) for axis in (1, 0)]
    rows, columns = (slice(max(int(f[0]) - 1, 0), int(f[-1]) + 2) for f in filled)
    return rows, columns


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


def _roc(name: str, lines: Iterable[tuple[str, dict[str, Any]]], alt: str, caption: str) -> Drawing:
    with canvas(_SIZE) as (figure, axes):
        axes[0].plot([0, 1], [0, 1], color=_GREY, linewidth=0.8)
        for index, (label, block) in enumerate(lines):
            curve = block["roc"]
            axes[0].plot(curve["fpr"], curve["tpr"], label=label, **line_style(index))
        _square(axes[0], "1 - specificity", "sensitivity")
        axes[0].legend(loc="lower right")
        return Drawing(name, svg_of(figure, name), alt, caption)


def _pr(name: str, lines: Iterable[tuple[str, dict[str, Any]]], alt: str, caption: str) -> Drawing:
    with canvas(_SIZE) as (figure, axes):
        for index, (label, block) in enumerate(lines):
            curve = block["pr"]
            axes[0].plot(curve["recall"], curve["precision"], label=label, **line_style(index))
        _square(axes[0], "recall (sensitivity)", "precision (PPV)")
        axes[0].legend(loc="lower left")
        return Drawing(name, svg_of(figure, name), alt, caption)


def _calibration(name: str, points: list[dict[str, float]]) -> Drawing:
    with canvas(_SIZE) as (figure, axes):
        axes[0].plot([0, 1], [0, 1], color=_GREY, linewidth=0.8)
        for point in points:
            axes[0].plot([point["predicted"]] * 2, [point["low"], point["high"]],
                         color=COLOURS[0], linewidth=1.0)  # fmt: skip
        sizes = [12 + 90 * p["patients"] / max(q["patients"] for q in points) for p in points]
        axes[0].scatter([p["predicted"] for p in points], [p["observed"] for p in points],
                        s=sizes, color=COLOURS[0], zorder=3)  # fmt: skip
        _square(axes[0], "predicted P(IDH mutant)", "observed share of mutants")
        told = "; ".join(
            f"{p['predicted']:.2f} predicted, {p['observed']:.2f} observed (n = {p['patients']})"
            for p in points
        )
        return Drawing(f"{name}-calibration", svg_of(figure, f"{name}-calibration"),
            f"Calibration of the hybrid on {name}: {told}.",
            f"Calibration of the hybrid on {name}: observed share of mutants by bin of predicted"
            " probability, with Wilson intervals; a dot's area grows with its patients.",
        )  # fmt: skip


def _decision(name: str, blocks: dict[str, Any]) -> Drawing:
    with canvas(_SIZE) as (figure, axes):
        highest = 0.05
        for index, (model, block) in enumerate(blocks.items()):
            curve = block["decision"]
            axes[0].plot(
                curve["threshold"], curve["model"], label=label_of(model), **line_style(index)
            )
            highest = max(highest, *curve["model"])
        everybody = next(iter(blocks.values()))["decision"]
        axes[0].plot(everybody["threshold"], everybody["everybody"], color=_GREY, linewidth=0.9,
                     label="call all mutant")  # fmt: skip
        axes[0].axhline(0, color="#444444", linewidth=0.9)
        axes[0].set(xlim=(0, 1), ylim=(-0.25 * highest, 1.08 * highest),
                    xlabel="threshold probability", ylabel="net benefit")  # fmt: skip
        axes[0].legend(loc="upper right")
        return Drawing(f"{name}-decision", svg_of(figure, f"{name}-decision"),
            f"Decision curves on {name}: net benefit of every model against calling all patients"
            " mutant, and against calling none.",
            f"Decision curves on {name}. A model is worth acting on where its line lies above both"
            " grey lines.",
        )  # fmt: skip


def _risk_coverage(name: str, curve: dict[str, Any]) -> Drawing:
    with canvas(_SIZE) as (figure, axes):
        axes[0].plot(curve["coverage"], curve["risk"], **line_style(0))
        axes[0].set(xlim=(0, 1.02), ylim=(0, max([0.1, *curve["risk"]]) * 1.08),
                    xlabel="share of patients kept, most certain first",
                    ylabel="error rate among them")  # fmt: skip
        axes[0].locator_params(axis="y", nbins=4)
        last = curve["risk"][-1] if curve["risk"] else float("nan")
        return Drawing(f"{name}-risk", svg_of(figure, f"{name}-risk"),
            f"Risk-coverage curve on {name}: the error rate ends at {last:.2f} with all patients"
            " kept.",
            f"Risk-coverage curve of the hybrid on {name}, ordered by {curve['by']}: the error rate"
            " if only the most certain patients were answered.",
        )  # fmt: skip


def _forest_panel(
    axes: Axes, rows: list[tuple[str, dict[str, Any] | None]], measure: str, overall: float | None
) -> None:
    if overall is not None:
        axes.axvline(overall, color=_GREY, linewidth=0.9, linestyle="--")
    for place, (_, group) in enumerate(rows):
        if group is None or group[measure]["value"] is None:
            continue
        found, small = group[measure], bool(group["too_small"])
        if found["low"] is not None:
            axes.plot([found["low"], found["high"]], [place] * 2, color=COLOURS[0],
                      linewidth=0.8 if small else 1.4)  # fmt: skip
        axes.plot(found["value"], place, marker="s", markersize=5.5, color=COLOURS[0],
                  markerfacecolor="white" if small else COLOURS[0])  # fmt: skip
    axes.set(xlim=(0, 1.02), ylim=(len(rows) - 0.5, -0.5), xlabel=_TITLES[measure])
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


_TITLES = {"accuracy": "accuracy", "auroc": "AUROC"}


def line_style(index: int) -> dict[str, Any]:
    """Colour and dashes that tell one line from its neighbours."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": _DASHES[index % len(_DASHES)],
        "linewidth": 1.8,
    }


def _square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03), xlabel=x, ylabel=y)


@contextmanager
def canvas(size: tuple[float, float], columns: int = 1) -> Iterator[tuple[Figure, Any]]:
    """A figure of so many inches and its row of axes, in the report's style."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        # A layout engine draws every figure twice over: fixed margins do for plain panels.
        figure = Figure(figsize=size, layout="constrained" if columns > 1 else None)
        FigureCanvasSVG(figure)
        axes = figure.subplots(1, columns, squeeze=False)[0]
        if columns == 1:
            figure.subplots_adjust(left=0.14, right=0.98, bottom=0.14, top=0.98)
        yield figure, axes


def svg_of(figure: Figure, name: str) -> str:
    """SVG element of a figure, the same bytes for the same figure, its ids unlike others'."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # Several drawings share a page: ids must not meet.
    prefix = re.sub(r"[^A-Za-z0-9]", "-", name)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'(xlink:href="|href="|url\()#', rf"\1#{prefix}-", text)
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)


def _told(lines: Iterable[tuple[str, Any]]) -> str:
    return "; ".join(label for label, _ in lines)


def _value(area: dict[str, Any]) -> str:
    return "–" if area["value"] is None else f"{area['value']:.2f}"
