"""The server's audit log as a table, and what the comparison found as JSON and as a page."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from components.core.files import write_json, write_text
from components.core.html import template
from components.core.vocabulary import QUANTILES
from components.monitor.audit_log import read_entries
from components.monitor.drift import FEWEST, P_ALARM, PSI_ALARM, Drift, compare_samples

NUMBERS = ("probability_idh_mutant", "uncertainty", "ood")
JSON_FILE = "drift.json"
HTML_FILE = "drift.html"
_TEMPLATE = "drift.html.j2"


def read_answers(path: Path | str) -> pd.DataFrame:
    """Status, numbers, features and intensities of each line of an audit log, without canaries.

    Raises BadInput: see `read_entries`.
    """
    rows = read_entries(Path(path), _row)
    table = pd.DataFrame(rows, columns=None if rows else ["status", *NUMBERS])
    numeric = [name for name in table.columns if name != "status"]
    return table.astype(dict.fromkeys(numeric, "float64"))


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    row = {name: entry[name] for name in ("status", *NUMBERS)}
    return row | entry["features"] | entry["intensities"]


def judge_drift(reference: Path | str, current: Path | str, out: Path | str) -> Drift:
    """Compare two audit logs; write drift.json and drift.html into the folder `out`.

    Raises BadInput: see `read_answers`.
    """
    drift = compare_samples(read_answers(reference), read_answers(current))
    out = Path(out)
    write_json(out / JSON_FILE, {**asdict(drift), "enough": drift.enough, "drifted": drift.drifted})
    write_text(out / HTML_FILE, _page(drift))
    return drift


def said(drift: Drift) -> str:
    """The result in one sentence."""
    if not drift.enough:
        return f"Too few answers to tell: {drift.current}, and {FEWEST} are needed."
    names = ", ".join(shift.what for shift in drift.shifts if shift.drifted)
    return f"Drifted: {names}." if names else "No drift."


def _page(drift: Drift) -> str:
    page = template(Path(__file__).with_name(_TEMPLATE), short=_short)
    return page.render(
        drift=drift,
        said=said(drift),
        shifts=sorted(drift.shifts, key=lambda shift: not shift.drifted),
        psi_alarm=PSI_ALARM,
        p_alarm=P_ALARM,
        quantiles=QUANTILES,
    )


def _short(value: float) -> str:
    """Four digits, with a true minus sign."""
    return f"{value:.4g}".replace("-", "−")
