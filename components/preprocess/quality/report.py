"""The quality page of a prepared set: every case's picture, its numbers, what is odd about it."""

from __future__ import annotations

import base64
import csv
from html import escape
from pathlib import Path

from components.cohort.prepared import PreparedCase, read_cases
from components.core.files import atomic
from components.preprocess.cohort import FAILED_FILE, MOSAIC_FILE

_STYLE = """body{font:14px system-ui,sans-serif;margin:2rem;max-width:70rem}
figure{margin:0 0 2rem}img{max-width:100%;image-rendering:pixelated}
figcaption{margin:.3rem 0}.odd{color:#a40000;font-weight:600}
table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left}"""


def write_quality_page(prepared: Path, page: Path) -> None:
    """Write one self-contained HTML page about a prepared set, the odd cases first."""
    cases = sorted(read_cases([prepared]), key=lambda case: (not case.warnings, case.patient_id))
    with (prepared / FAILED_FILE).open(newline="") as stream:
        failed = list(csv.DictReader(stream))
    odd = sum(bool(case.warnings) for case in cases)
    parts = [
        f"<h1>Prepared cases</h1><p>{len(cases)} prepared, {odd} of them flagged; "
        f"{len(failed)} failed.</p>",
        _failed(failed),
        *(_figure(case, prepared / case.patient_id / MOSAIC_FILE) for case in cases),
    ]
    body = "\n".join(parts)
    with atomic(page) as temporary:
        temporary.write_text(
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Prepared cases'
            f"</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
        )


def _failed(rows: list[dict[str, str]]) -> str:
    if not rows:
        return ""
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in row.values()) + "</tr>"
        for row in rows
    )
    head = "<tr><th>patient</th><th>why it failed</th><th>how to mend it</th></tr>"
    return f"<table>{head}{lines}</table>"


def _figure(case: PreparedCase, picture: Path) -> str:
    encoded = base64.b64encode(picture.read_bytes()).decode()
    odd = "".join(f'<div class="odd">{escape(sentence)}</div>' for sentence in case.warnings)
    numbers = ", ".join(f"{name} {value:g}" for name, value in sorted(case.quality.items()))
    names = ", ".join(sequence.value for sequence in case.sequences)
    return (
        f"<figure><h2>{escape(case.patient_id)}</h2>{odd}"
        f'<img alt="{names} of {escape(case.patient_id)}" src="data:image/png;base64,{encoded}">'
        f"<figcaption>{escape(numbers)}</figcaption></figure>"
    )
