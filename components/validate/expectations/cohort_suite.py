"""Great Expectations on each manifest as a whole: what a cohort lacks, beside who is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.cohort.manifest import COLUMNS, ManifestTable
from components.validate.expectations.suites import run_suite

KNOWN_SHARE = 0.8
"""Share of rows below which a column counts as largely missing."""
EXPECTED = ("t1c", "t2", "flair", "tumor_mask", "age", "sex", "idh", "grade", "codeletion")
"""Columns whose missing rate is looked at."""
MANY_SAME = 0.95
"""Share of one class above which a cohort says little about the other."""

VOCABULARIES: Mapping[str, tuple[str, ...]] = {
    "idh": ("0", "1"),
    "sex": ("M", "F"),
    "grade": ("2", "3", "4"),
    "codeletion": ("0", "1"),
    "split": ("training", "tuning", "internal"),
}
"""What the cells of a column may hold, unless empty."""


@dataclass(frozen=True)
class CohortCheck:
    """One expectation on a whole manifest, and how it came out. It refuses nobody by itself."""

    cohort: str
    what: str
    ok: bool
    found: str


def judge_cohort(cohort: str, table: ManifestTable) -> list[CohortCheck]:
    """Run the suite on the cells of one manifest, as text; empty cells are unknown."""
    import great_expectations.expectations as gxe
    import pandas as pd

    cells = {name: [row.get(name) or None for row in table.rows] for name in COLUMNS}
    frame = pd.DataFrame(cells, dtype=object)
    worded = [name for name in VOCABULARIES if name in table.columns]
    known = [name for name in EXPECTED if name in table.columns]
    results = run_suite(
        frame,
        [
            gxe.ExpectColumnValuesToBeUnique(column="patient_id"),
            *(
                gxe.ExpectColumnValuesToBeInSet(column=n, value_set=list(VOCABULARIES[n]))
                for n in worded
            ),
            *(gxe.ExpectColumnValuesToNotBeNull(column=n, mostly=KNOWN_SHARE) for n in known),
        ],
    )
    told = [("every patient has one row", _sharing)]
    told += [(f"{n} holds {', '.join(VOCABULARIES[n])} or nothing", _others) for n in worded]
    told += [(f"{n} is known for {KNOWN_SHARE:.0%} or more", _share_known) for n in known]
    checks = [
        CohortCheck(cohort, what, bool(result.success), found(result.result))
        for (what, found), result in zip(told, results, strict=True)
    ]
    return [*checks, _classes(cohort, frame)]


def _sharing(result: dict[str, Any]) -> str:
    return f"{result['unexpected_count']} rows share an id"


def _others(result: dict[str, Any]) -> str:
    others = dict.fromkeys(result.get("partial_unexpected_list") or [])
    return ", ".join(f"'{value}'" for value in others) or "nothing else"


def _share_known(result: dict[str, Any]) -> str:
    return f"{1.0 - result['unexpected_count'] / result['element_count']:.0%}"


def _classes(cohort: str, frame: Any) -> CohortCheck:
    counts = frame["idh"].value_counts()
    mutant, wildtype = int(counts.get("1", 0)), int(counts.get("0", 0))
    ok = max(mutant, wildtype) <= MANY_SAME * (mutant + wildtype) and min(mutant, wildtype) > 0
    found = f"{mutant} mutant, {wildtype} wildtype"
    return CohortCheck(cohort, "both IDH classes are there", ok, found)
