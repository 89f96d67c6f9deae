"""Cohorts beside each other: the paper's Table 1, with its tests.

Counts are compared by Pearson's chi-square as R's chisq.test does it (Yates' correction in 2 x 2
tables), and by Fisher's exact test where an expected count is below 5, which is where chisq.test
warns. Ages are compared by the two-sample t-test of equal variances; Welch's P stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.errors import BadInput
from components.evaluate.read_tables import read_people
from components.evaluate.statistics.cohort_tests import compare_counts, compare_means
from components.evaluate.statistics.performance import without_nan

if TYPE_CHECKING:
    import pandas as pd

CATEGORIES: dict[str, dict[Any, str]] = {
    "sex": {"M": "male", "F": "female"},
    "idh": {0: "wildtype", 1: "mutant"},
    "grade": {2: "II", 3: "III", 4: "IV"},
}
"""Variable -> value -> how the table names it, in the order of the table's rows."""

SUBGROUPS = ("IDH wildtype", "IDH mutant, 1p/19q intact", "IDH mutant, 1p/19q codeleted",
             "IDH mutant, 1p/19q unknown", "IDH unknown")  # fmt: skip
"""Molecular subgroups within a grade."""


@dataclass(frozen=True)
class Cohort:
    """What Table 1 needs of a cohort; NaN where a patient's value is unknown.

    age in years, sex "M" or "F", idh 0 or 1, grade 2 to 4, codeletion 0 or 1: columns of `people`,
    one row a patient.
    """

    name: str
    people: pd.DataFrame


def compare_manifests(manifests: Sequence[Path]) -> dict[str, Any]:
    """Table 1 of two or more manifests (CSV); the first is the reference.

    A cohort is named after its file, or after its folder where files share a name. Only patient_id,
    age and idh are required; images are not looked at.

    Raises BadInput: fewer than two manifests, or one that cannot be read.
    """
    paths = [Path(path) for path in manifests]
    if len(paths) < 2:
        raise BadInput("compare-cohorts", "one cohort only", "give two or more manifests")
    names = _names(paths)
    return compare_cohorts(
        [Cohort(name, read_people(path)) for name, path in zip(names, paths, strict=True)]
    )


def _names(paths: list[Path]) -> list[str]:
    stems = [path.stem for path in paths]
    if len(set(stems)) < len(stems):
        stems = [path.resolve().parent.name for path in paths]
    if len(set(stems)) < len(stems):
        stems = [str(path) for path in paths]
    if len(set(stems)) < len(stems):
        raise BadInput(paths[-1], "given twice", "give each cohort once")
    return stems


def compare_cohorts(cohorts: Sequence[Cohort]) -> dict[str, Any]:
    """Describe every cohort, and compare each with the first.

    Returns:
        {"reference", "cohorts": {NAME: description}, "comparisons": {NAME: {VARIABLE: {"p",
        "test", ...}}}, "warnings"}; VARIABLE is age, sex, idh, grade, and molecular within a grade;
        a P that does not exist (nothing known, one category only) is None.
    """
    reference = cohorts[0]
    return without_nan(
        {
            "reference": reference.name,
            "cohorts": {cohort.name: describe_cohort(cohort) for cohort in cohorts},
            "comparisons": {cohort.name: _compare(reference, cohort) for cohort in cohorts[1:]},
            "warnings": _warnings(cohorts),
        }
    )


def describe_cohort(cohort: Cohort) -> dict[str, Any]:
    """{"patients", "age": {"mean", "sd", ...}, "sex": {NAME: {"count", "percent"}}, ...}."""
    people = cohort.people
    age = people["age"].dropna().to_numpy(dtype=float)
    content: dict[str, Any] = {
        "patients": len(people),
        "age": {
            "mean": float(age.mean()) if age.size else math.nan,
            "sd": float(age.std(ddof=1)) if age.size > 1 else math.nan,
            "known": int(age.size),
        },
    }
    for variable, labels in CATEGORIES.items():
        content[variable] = _shares(
            {label: int((people[variable] == value).sum()) for value, label in labels.items()}
        )
    content["molecular"] = {
        label: _shares(_molecular(people[people["grade"] == value]))
        for value, label in CATEGORIES["grade"].items()
    }
    return content


def _shares(counts: dict[str, int]) -> dict[str, dict[str, float]]:
    total = sum(counts.values())
    return {
        name: {"count": count, "percent": 100 * count / total if total else math.nan}
        for name, count in counts.items()
    }


def _molecular(people: pd.DataFrame) -> dict[str, int]:
    wildtype, mutant = people["idh"] == 0, people["idh"] == 1
    codeleted, intact = people["codeletion"] == 1, people["codeletion"] == 0
    rows = (
        wildtype,
        mutant & intact,
        mutant & codeleted,
        mutant & ~codeleted & ~intact,
        ~wildtype & ~mutant,
    )
    return {name: int(inside.sum()) for name, inside in zip(SUBGROUPS, rows, strict=True)}


def _compare(reference: Cohort, other: Cohort) -> dict[str, Any]:
    one, two = reference.people, other.people
    found: dict[str, Any] = {"age": compare_means(one["age"], two["age"])}
    for variable, labels in CATEGORIES.items():
        table = [[int((people[variable] == v).sum()) for people in (one, two)] for v in labels]
        found[variable] = compare_counts(np.array(table))
    for value, label in CATEGORIES["grade"].items():
        columns = [_molecular(people[people["grade"] == value]) for people in (one, two)]
        table = [[column[name] for column in columns] for name in SUBGROUPS]
        found[f"molecular within grade {label}"] = compare_counts(np.array(table))
    return found


def _warnings(cohorts: Sequence[Cohort]) -> list[str]:
    found = []
    for index, cohort in enumerate(cohorts):
        age = cohort.people["age"]
        if young := int((age < 18).sum()):
            found.append(f"{cohort.name}: {young} patients under 18 years, whom the paper excludes")
        for other in cohorts[index + 1 :]:
            shared = sorted(set(cohort.people.index) & set(other.people.index))
            if shared:
                found.append(
                    f"{cohort.name} and {other.name} share {len(shared)} patient identifiers"
                    f" (first: {shared[0]})"
                )
    return found


def cohorts_markdown(result: dict[str, Any]) -> str:
    """The result of `compare_cohorts` as the paper's Table 1, in Markdown."""
    cohorts, comparisons = result["cohorts"], result["comparisons"]
    heads = [f"{name} (n = {block['patients']})" for name, block in cohorts.items()]
    head = ["", heads[0]]
    for name, title in zip(list(cohorts)[1:], heads[1:], strict=True):
        head += [title, f"P ({result['reference']} vs {name})"]
    lines = [_line(head), _line(["---"] * len(head))]
    for label, cells, variable in table_rows(cohorts):
        row = [label, cells[0]]
        for name, cell in zip(list(cohorts)[1:], cells[1:], strict=True):
            p = comparisons[name].get(variable) if variable else None
            row += [cell, format_p(p["p"], p["test"]) if p else ""]
        lines.append(_line(row))
    notes = [
        "Age: mean ± SD, two-sample t-test of equal variances. Counts: n (%), chi-square with"
        " Yates' correction in 2 x 2 tables; F: Fisher's exact test, an expected count being below"
        " 5. Percentages of a molecular subgroup are within its grade; the P beside a grade's first"
        " one compares them all."
    ]
    notes += [f"Note: {warning}." for warning in result["warnings"]]
    return "\n".join([*lines, "", *notes])


def table_rows(cohorts: dict[str, Any]) -> list[tuple[str, list[str], str | None]]:
    """Rows of Table 1: (label, a cell a cohort, variable whose P belongs to the row or None)."""
    blocks = list(cohorts.values())
    rows: list[tuple[str, list[str], str | None]] = [
        ("Age (years)", [_mean_sd(block["age"]) for block in blocks], "age")
    ]
    titles = {"sex": "Sex", "idh": "IDH status", "grade": "WHO grade"}
    for variable, labels in CATEGORIES.items():
        rows.append((titles[variable], [""] * len(blocks), variable))
        for label in labels.values():
            rows.append((f"– {label}", [_count(block[variable][label]) for block in blocks], None))
            if variable == "grade":
                rows += _molecular_rows(blocks, label)
    return rows


def _molecular_rows(
    blocks: list[dict[str, Any]], grade: str
) -> list[tuple[str, list[str], str | None]]:
    rows: list[tuple[str, list[str], str | None]] = []
    for name in SUBGROUPS:
        found = [block["molecular"][grade][name] for block in blocks]
        if any(cell["count"] for cell in found):
            # The P of a grade's subgroups stands in the row of the first of them.
            variable = f"molecular within grade {grade}" if not rows else None
            rows.append((f"–– {name}", [_count(cell) for cell in found], variable))
    return rows


def format_p(p: float | None, test: str | None = None) -> str:
    """A P-value as journals print it: three decimals, <0.001, >0.999; F marks Fisher's test."""
    if p is None:
        return "–"
    text = "<0.001" if p < 0.001 else ">0.999" if p > 0.999 else f"{p:.3f}"
    return f"{text} F" if test == "Fisher" else text


def _mean_sd(age: dict[str, Any]) -> str:
    if age["mean"] is None:
        return "–"
    return f"{age['mean']:.1f}" + ("" if age["sd"] is None else f" ± {age['sd']:.1f}")


def _count(cell: dict[str, Any]) -> str:
    percent = "" if cell["percent"] is None else f" ({cell['percent']:.1f})"
    return f"{cell['count']}{percent}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
