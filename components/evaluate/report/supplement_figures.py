"""Figures of subgroups, of the importance of features, and of robustness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from components.evaluate.report.canvas import COLOURS, GREY, Drawing, canvas, line_style, svg_of
from components.evaluate.report.formatting import rounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN_FEATURES = 12
_TITLES = {"accuracy": "accuracy", "auroc": "AUROC"}


def supplement_figures(result: dict[str, Any]) -> dict[str, list[Drawing]]:
    """Section -> its figures; sections without any are absent."""
    found: dict[str, list[Drawing]] = {}
    if result["importance"]:
        drawing = importance_figure(result["importance"])
        found["importance"] = [drawing] if drawing else []
    if result["robustness"]:
        found["robustness"] = [
            robustness_figure(one) for one in result["robustness"]["degradations"]
        ]
    return {section: drawings for section, drawings in found.items() if drawings}


def importance_figure(rows: list[dict[str, Any]]) -> Drawing | None:
    """Bars of the most important features of the forest; None where none is known."""
    known = [row for row in rows if row["importance"]][:SHOWN_FEATURES]
    if not known:
        return None
    with canvas((6.4, 0.8 + 0.27 * len(known))) as (figure, axes):
        places = list(range(len(known)))
        axes[0].barh(
            places,
            [row["importance"]["mean"] for row in known],
            xerr=[row["importance"]["sd"] for row in known],
            color=COLOURS[0],
            height=0.62,
            error_kw={"elinewidth": 1.0, "ecolor": "#444444"},
        )
        axes[0].set_yticks(places, [row["feature"] for row in known])
        axes[0].invert_yaxis()
        axes[0].set_xlabel("fall of AUROC when shuffled")
        axes[0].axvline(0, color="#444444", linewidth=0.9)
        axes[0].grid(axis="y", visible=False)
        figure.subplots_adjust(left=0.38, right=0.98, bottom=0.5 / figure.get_figheight(), top=0.98)
        svg = svg_of(figure, "importance")
    told = "; ".join(f"{row['feature']} {row['importance']['mean']:.3f}" for row in known)
    return Drawing(
        "importance", svg, f"Permutation importance of the forest's features: {told}.",
        "Permutation importance of the numeric features in the forest: mean fall of the AUROC on"
        " held-out patients, and its SD over the permutations.",
    )  # fmt: skip


_MEASURES = (("auroc", "AUROC"), ("accuracy", "accuracy"), ("dice", "Dice, mean"))


def robustness_figure(block: dict[str, Any]) -> Drawing:
    """AUROC, accuracy and mean Dice by level of one degradation."""
    levels, worse, measured = block["levels"], block["degradation"], bool(block["unit"])
    name = f"robustness-{worse}".replace(" ", "-")
    places = [level["level"] for level in levels] if measured else list(range(len(levels)))
    told = []
    with canvas((4.4, 3.9)) as (figure, axes):
        for index, (key, label) in enumerate(_MEASURES):
            values = [level[key]["mean" if key == "dice" else "value"] for level in levels]
            known = [(x, y) for x, y in zip(places, values, strict=True) if y is not None]
            if not known:
                continue
            style = line_style(index) if measured else {"color": COLOURS[index], "linestyle": ""}
            axes[0].plot(*zip(*known, strict=True), label=label, marker="os^"[index], **style)
            told.append(f"{label}: " + ", ".join(f"{y:.2f}" for _, y in known))
        axes[0].set(ylim=(0, 1.03), ylabel="performance")
        if measured:
            axes[0].set_xlabel(f"{worse} ({block['unit']})")
        else:
            axes[0].set_xticks(places, [_broken(level["label"]) for level in levels], fontsize=7.5)
            axes[0].set_xlim(-0.5, len(levels) - 0.5)
        axes[0].legend(loc="lower left")
        if not measured:
            figure.subplots_adjust(bottom=0.2)
        svg = svg_of(figure, name)
    labels = ", ".join(level["label"] for level in levels)
    return Drawing(
        name, svg, f"Performance by {worse} ({labels}): {'; '.join(told)}.",
        f"Performance by {worse}, the same phantoms at every level.",
    )  # fmt: skip


def _broken(label: str) -> str:
    return label.replace(", ", ",\n").replace(" in its place", "\nin its place")


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
        f"{g['attribute']} {g['group']}: {rounded(g['accuracy'])}" for g in groups if g["patients"]
    )
    return Drawing(
        f"{name}-forest", svg, f"Accuracy of the hybrid by subgroup on {name}: {told}.",
        f"Accuracy and AUROC of the hybrid in subgroups of {name}, with 95 % intervals. Dashed: all"
        " patients. Hollow: a group too small to say.",
    )  # fmt: skip


def _forest_panel(
    axes: Axes, rows: list[tuple[str, dict[str, Any] | None]], measure: str, overall: float | None
) -> None:
    if overall is not None:
        axes.axvline(overall, color=GREY, linewidth=0.9, linestyle="--")
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
