"""The server's audit log as a table, and what the comparison found as JSON and as a page."""

from __future__ import annotations

import json
from dataclasses import asdict
from html import escape
from pathlib import Path

import pandas as pd

from components.cohort.errors import BadInput
from components.cohort.files import atomic, write_json
from components.drift.drift import FEWEST, Drift, Shift, compare

NUMBERS = ("probability_idh_mutant", "uncertainty", "ood")
JSON_FILE = "drift.json"
HTML_FILE = "drift.html"

_STYLE = (
    "body{font:15px system-ui;max-width:60rem;margin:2rem auto;color:#222}"
    "td,th{padding:.3rem .8rem;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}.drifted{background:#fde8e4}"
)


def read_answers(path: Path | str) -> pd.DataFrame:
    """Status, numbers and features of each line of an audit log; a canary's are left out.

    Raises:
        BadInput: no such file, or a line is not one of the server's; names the line.
    """
    path = Path(path)
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror})", "give an audit log") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            row = {name: entry[name] for name in ("status", *NUMBERS)} | entry["features"]
        except (ValueError, KeyError, TypeError):
            raise BadInput(
                f"{path}:{number}", "not a line of the audit log", "give what --audit-log wrote"
            ) from None
        if entry.get("request_id") != "canary":
            rows.append(row)
    table = pd.DataFrame(rows, columns=None if rows else ["status", *NUMBERS])
    numeric = [name for name in table.columns if name != "status"]
    return table.astype(dict.fromkeys(numeric, "float64"))


def judge_drift(reference: Path | str, current: Path | str, out: Path | str) -> Drift:
    """Compare two audit logs; write drift.json and drift.html into the folder `out`.

    Raises:
        BadInput: see `read_answers`.
    """
    drift = compare(read_answers(reference), read_answers(current))
    out = Path(out)
    write_json(out / JSON_FILE, {**asdict(drift), "enough": drift.enough, "drifted": drift.drifted})
    with atomic(out / HTML_FILE) as temporary:
        temporary.write_text(_page(drift))
    return drift


def said(drift: Drift) -> str:
    """The result in one sentence."""
    if not drift.enough:
        return f"Too few answers to tell: {drift.current}, and {FEWEST} are needed."
    names = ", ".join(shift.what for shift in drift.shifts if shift.drifted)
    return f"Drifted: {names}." if names else "No drift."


def _page(drift: Drift) -> str:
    rows = "".join(map(_row, drift.shifts))
    heads = ("", "reference", "now", "PSI", "P")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Drift</title>"
        f"<style>{_STYLE}</style><h1>Drift</h1><p><b>{escape(said(drift))}</b></p>"
        f"<p>{drift.current} answers, against {drift.reference} of reference patients. "
        f"Research use only.</p><table><tr>{head}</tr>{rows}</table></html>\n"
    )


def _row(shift: Shift) -> str:
    index = "" if shift.psi is None else f"{shift.psi:.3f}"
    cells = (escape(shift.what), f"{shift.reference:.4g}", f"{shift.current:.4g}", index)
    marked = " class=drifted" if shift.drifted else ""
    values = "".join(f"<td>{cell}</td>" for cell in (*cells, f"{shift.p:.2g}"))
    return f"<tr{marked}>{values}</tr>"
