"""Figures of what other steps found out: importance of the features, robustness."""

from __future__ import annotations

from typing import Any

from components.evaluate.report.figures import COLOURS, Drawing, canvas, line_style, svg_of

SHOWN_FEATURES = 12


def more_figures(result: dict[str, Any]) -> dict[str, list[Drawing]]:
    """Section -> its figures; sections without any are absent."""
    found: dict[str, list[Drawing]] = {}
    if result["importance"]:
        drawing = importance_figure(result["importance"])
        found["importance"] = [drawing] if drawing else []
    if result["robustness"]:
        found["robustness"] = [robustness_figure(dial) for dial in result["robustness"]["dials"]]
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


def robustness_figure(dial: dict[str, Any]) -> Drawing:
    """AUROC, accuracy and mean Dice by level of one dial."""
    levels, name = dial["levels"], f"robustness-{dial['dial']}".replace(" ", "-")
    measured = bool(dial["unit"])
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
            axes[0].set_xlabel(f"{dial['dial']} ({dial['unit']})")
        else:
            axes[0].set_xticks(places, [_broken(level["label"]) for level in levels], fontsize=7.5)
            axes[0].set_xlim(-0.5, len(levels) - 0.5)
        axes[0].legend(loc="lower left")
        if not measured:
            figure.subplots_adjust(bottom=0.2)
        svg = svg_of(figure, name)
    labels = ", ".join(level["label"] for level in levels)
    return Drawing(
        name, svg, f"Performance by {dial['dial']} ({labels}): {'; '.join(told)}.",
        f"Performance by {dial['dial']}, the same phantoms at every level.",
    )  # fmt: skip


def _broken(label: str) -> str:
    return label.replace(", ", ",\n").replace(" in its place", "\nin its place")
