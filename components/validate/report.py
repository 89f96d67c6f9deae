"""validation.html: one self-contained page, failures first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from components.cohort.manifest import Patient
from components.cohort.vocabulary import Idh
from components.validate.splits import Assignment

AGE_BINS = tuple(range(10, 110, 10))
"""Lower edges, in years, of the age histogram."""


def render_report(
    report: dict[str, Any], accepted: list[Patient], assignments: Mapping[str, Assignment]
) -> str:
    """The page as HTML text; no script, no network."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sets: dict[str, list[Patient]] = {}
    for patient in accepted:
        sets.setdefault(assignments[patient.patient_id][0], []).append(patient)
    reasons = Counter(reason for reasons in report["reasons"].values() for reason in reasons)
    return environment.get_template("validation.html.j2").render(
        report=report,
        sets=[_describe(name, members) for name, members in sets.items()],
        reasons=reasons.most_common(),
    )


def _describe(name: str, patients: list[Patient]) -> dict[str, Any]:
    ages = [patient.age for patient in patients if patient.age is not None]
    labels = Counter(patient.idh for patient in patients)
    mean = sum(ages) / len(ages) if ages else None
    sexes = Counter(patient.sex.value if patient.sex else "unknown" for patient in patients)
    grades = Counter(str(patient.grade) if patient.grade else "unknown" for patient in patients)
    return {
        "name": name,
        "patients": len(patients),
        "mutant": labels[Idh.MUTANT],
        "wildtype": labels[Idh.WILDTYPE],
        "unknown": labels[None],
        "masks": sum(patient.tumor_mask is not None for patient in patients),
        "age": mean,
        "histogram": [sum(low <= age < low + 10 for age in ages) for low in AGE_BINS],
        "bins": AGE_BINS,
        "sexes": dict(sorted(sexes.items())),
        "grades": dict(sorted(grades.items())),
        "sites": dict(sorted(Counter(patient.site for patient in patients).items())),
    }
