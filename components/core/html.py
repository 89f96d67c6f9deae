"""Pages from Jinja templates, how numbers are written on them, and what of an image is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jinja2 import Template


def template(path: Path, **filters: Callable[..., object]) -> Template:
    """The template in a file; a name that it uses and is not given is an error.

    Whatever is put into one whose name ends in .html.j2 is escaped.

    Args:
        filters: beside Jinja's own, `number` and `percent`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(path.parent),
        autoescape=select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update({"number": number, "percent": percent, **filters})
    return environment.get_template(path.name)


def percent(value: float | None, missing: str = "–") -> str:
    """0.938 -> "93.8 %"; `missing` stands for a value that does not exist."""
    return missing if value is None else f"{100 * value:.1f} %"


def number(value: float | None, digits: int = 2, missing: str = "–") -> str:
    """A number with a fixed count of decimals, with a true minus sign, and none before 0."""
    return missing if value is None else f"{value:z.{digits}f}".replace("-", "−")


def box_around(image: np.ndarray, rim: int) -> tuple[slice, slice]:
    """Rows and columns in which any of (..., y, x) is not 0, and a rim; all where nothing is."""
    filled: np.ndarray = np.any(image.reshape(-1, *image.shape[-2:]), axis=0)
    if not filled.any():
        return slice(None), slice(None)
    places = [np.flatnonzero(np.any(filled, axis=axis)) for axis in (1, 0)]
    rows, columns = (slice(max(int(p[0]) - rim, 0), int(p[-1]) + 1 + rim) for p in places)
    return rows, columns
