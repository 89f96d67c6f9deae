"""The view as parts of a page: NiiVue, our script, the volumes, and what the page must allow."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.report.result import PatientResult
from serving.report.viewer.bundle import LICENCES, NIIVUE
from serving.report.viewer.volumes import viewer_volumes

if TYPE_CHECKING:
    from markupsafe import Markup

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Viewer:
    """What the template puts into the page.

    Attributes:
        scripts: to be run in this order.
        sources: the scripts' hashes, as a content security policy names them.
        data: what the second script reads.
        licences: of the first script.
    """

    scripts: tuple[Markup, ...]
    sources: str
    data: dict[str, Any]
    licences: str


def make_viewer(result: PatientResult) -> Viewer:
    """The view of one answer."""
    from markupsafe import Markup

    texts = [(_FOLDER / name).read_text(encoding="utf-8") for name in (NIIVUE, "viewer.js")]
    return Viewer(
        tuple(Markup(text) for text in texts),  # noqa: S704
        " ".join(_source(text) for text in texts),
        viewer_volumes(result),
        (_FOLDER / LICENCES).read_text(encoding="utf-8"),
    )


def _source(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
