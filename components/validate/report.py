"""validation.html: one self-contained page, failures first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.cohort.image_checks.facts import MASKS
from components.cohort.manifest import Patient
from components.core.html import template
from components.core.vocabulary import Idh, Sequence, Split
from components.validate.splits import Assignment

AGE_BINS = tuple(range(10, 110, 10))
"""Lower edges, in years, of the age histogram; the last bin is open above."""

ROLES = (*(sequence.value for sequence in Sequence), *MASKS)

KINDS = {Idh.MUTANT: "mutant", Idh.WILDTYPE: "wildtype", None: "unknown"}


def render_validation(
    report: dict[str, Any], accepted: list[Patient], assignments: Mapping[str, Assignment]
) -> str:
    """The page as HTML text; no script, no network."""
    refused = report["reasons"]
    sets: dict[str, list[Patient]] = {split.value: [] for split in Split}
    for patient in accepted:
        sets.setdefault(assignments[patient.patient_id][0], []).append(patient)
    reasons = Counter(reason for reasons in report["reasons"].values() for reason in reasons)
    warned = {name: found for name, found in report["warnings"].items() if name not in refused}
    return template(Path(__file__).with_name("validation.html.j2")).render(
        report=report,
        sets=[_describe(name, members) for name, members in sets.items() if members],
        reasons=reasons.most_common(),
        warned=len(warned),
        warnings=_by_warning(warned),
    )


def _by_warning(warned: Mapping[str, list[str]]) -> list[tuple[str, list[str]]]:
    """Warning -> the patients it concerns, the rarest first: what concerns all tells least.

    A warning of several images of one patient is told once, with the images in brackets.
    """
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, warnings in warned.items():
        for warning in warnings:
            role, what = _split(warning)
            found[what][name] += [role] if role else []
    told = {
        what: [f"{name} ({', '.join(roles)})" if roles else name for name, roles in names.items()]
        for what, names in found.items()
    }
    return sorted(told.items(), key=lambda item: len(item[1]))


def _split(warning: str) -> tuple[str, str]:
    """(image role, what) of a warning; the role is empty where it concerns the row."""
    role, _, what = warning.partition(": ")
    return (role, what) if role in ROLES else ("", warning)


def _histogram(patients: list[Patient]) -> list[dict[str, Any]]:
    """Per bin of AGE_BINS: its label, and how many of each kind of KINDS."""
    bins = []
    for low in AGE_BINS:
        last = low == AGE_BINS[-1]
        inside = [p for p in patients if p.age is not None and low <= p.age < (low + 10, 200)[last]]
        counts = Counter(KINDS[patient.idh] for patient in inside)
        label = f"{low}+" if last else str(low)
        bins.append(
            {"label": label, "total": len(inside), **{k: counts[k] for k in KINDS.values()}}
        )
    return bins


def _describe(name: str, patients: list[Patient]) -> dict[str, Any]:
    ages = [patient.age for patient in patients if patient.age is not None]
    labels = Counter(patient.idh for patient in patients)
    bins = _histogram(patients)
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
        "histogram": bins,
        "tallest": max(item["total"] for item in bins),
        "told": ", ".join(f"from {item['label']}: {item['total']}" for item in bins),
        "sexes": dict(sorted(sexes.items())),
        "grades": dict(sorted(grades.items())),
        "sites": Counter(patient.site for patient in patients).most_common(),
    }
