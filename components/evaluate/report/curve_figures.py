"""Curves of every test set: ROC, precision-recall, calibration, decision, risk-coverage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from components.core.vocabulary import Model
from components.evaluate.report.canvas import (
    COLOURS,
    GREY,
    Drawing,
    canvas,
    label_of,
    line_style,
    svg_of,
)
from components.evaluate.report.formatting import rounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (4.4, 3.9)


def hybrid_figures(result: dict[str, Any]) -> list[Drawing]:
    """ROC and precision-recall curves of the hybrid on every set (the paper's Fig. 3)."""
    model = Model.HYBRID.value
    sets = {name: block for name, block in result["curves"].items() if model in block}
    lines = [
        (f"{name} ({rounded(result['sets'][name][model]['auroc'])})", block[model])
        for name, block in sets.items()
    ]
    areas = [
        (f"{name} ({rounded(result['sets'][name][model]['auprc'])})", block[model])
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
    roc = [(f"{label_of(m)} ({rounded(scores[m]['auroc'])})", b) for m, b in blocks.items()]
    pr = [(f"{label_of(m)} ({rounded(scores[m]['auprc'])})", b) for m, b in blocks.items()]
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


def _roc(name: str, lines: Iterable[tuple[str, dict[str, Any]]], alt: str, caption: str) -> Drawing:
    with canvas(_SIZE) as (figure, axes):
        axes[0].plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
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
        axes[0].plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
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
        axes[0].plot(everybody["threshold"], everybody["everybody"], color=GREY, linewidth=0.9,
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


def _square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03), xlabel=x, ylabel=y)


def _told(lines: Iterable[tuple[str, Any]]) -> str:
    return "; ".join(label for label, _ in lines)
