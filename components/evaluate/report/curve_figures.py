"""Curves of every test set: ROC, precision-recall, calibration, decision, risk-coverage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

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


class _Kind(NamedTuple):
    title: str
    score: str
    axes: tuple[str, str]
    labels: tuple[str, str]
    legend: str


_KINDS = {
    "roc": _Kind("ROC curve", "auroc", ("fpr", "tpr"),
                 ("1 - specificity", "sensitivity"), "lower right"),
    "pr": _Kind("Precision-recall curve", "auprc", ("recall", "precision"),
                ("recall (sensitivity)", "precision (PPV)"), "lower left"),
}  # fmt: skip


def hybrid_figures(result: dict[str, Any]) -> list[Drawing]:
    """ROC and precision-recall curves of the hybrid on every set (the paper's Fig. 3)."""
    model = Model.HYBRID.value
    blocks = {name: block[model] for name, block in result["curves"].items() if model in block}
    scores = {name: result["sets"][name][model] for name in blocks}
    texts = "s of the hybrid; {} by set", " of the hybrid on every set, with its {}"
    return [_curves("hybrid", kind, blocks, scores, *texts) for kind in _KINDS if blocks]


def set_figures(name: str, result: dict[str, Any]) -> list[Drawing]:
    """ROC, precision-recall, calibration, decision and risk-coverage curves of one set."""
    blocks = result["curves"][name]
    lines = {label_of(model): block for model, block in blocks.items()}
    scores = {label_of(model): result["sets"][name][model] for model in blocks}
    texts = f"s on {name}; {{}}", f"s of every model on {name}, with their {{}}"
    found = [_curves(name, kind, lines, scores, *texts) for kind in _KINDS]
    if Model.HYBRID.value in blocks:
        hybrid = blocks[Model.HYBRID.value]
        found.append(_calibration(name, hybrid["calibration"]))
        found.append(_risk_coverage(name, hybrid["risk_coverage"]))
    found.append(_decision(name, blocks))
    return found


def _curves(
    name: str, kind: str, blocks: dict[str, Any], scores: dict[str, Any], alt: str, caption: str
) -> Drawing:
    title, score, (x, y), labels, legend = _KINDS[kind]
    told = {line: f"{line} ({rounded(scores[line][score])})" for line in blocks}
    with canvas(_SIZE) as (figure, axes):
        if kind == "roc":
            axes[0].plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        for index, (line, block) in enumerate(blocks.items()):
            curve = block[kind]
            axes[0].plot(curve[x], curve[y], label=told[line], **line_style(index))
        _square(axes[0], *labels)
        axes[0].legend(loc=legend)
        return Drawing(f"{name}-{kind}", svg_of(figure, f"{name}-{kind}"),
            f"{title}{alt.format(score.upper())}: {'; '.join(told.values())}.",
            f"{title}{caption.format(score.upper())}.",
        )  # fmt: skip


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
