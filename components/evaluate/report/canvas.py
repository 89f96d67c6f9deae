"""The canvas of the report's figures: colour-blind safe, lines told apart by dashes as well.

Colours are those of Okabe and Ito. Text stays text, so that it scales, prints and can be read out.
"""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.core.vocabulary import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

MODEL_LABELS = {
    Model.HYBRID.value: "hybrid",
    Model.RESNET.value: "ResNet (images)",
    Model.RADIOMICS.value: "forest (shape, loci, age)",
    Model.AGE.value: "age alone",
}

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 2)))
GREY = "#767676"
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


def line_style(index: int) -> dict[str, Any]:
    """Colour and dashes that tell one line from its neighbours."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": _DASHES[index % len(_DASHES)],
        "linewidth": 1.8,
    }


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
