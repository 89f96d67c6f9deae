"""Leakage: one patient, under one name or two, both learnt from and tested on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from components.cohort.image_checks.facts import MASK, ImageFacts
from components.core.errors import BadInput


def repeated_images(facts: Iterable[ImageFacts]) -> dict[str, set[str]]:
    """Voxel-content digest -> patients (two or more) that share such an image."""
    owners: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        if fact.content and fact.role != MASK:
            owners[fact.content].add(fact.patient_id)
    return {digest: names for digest, names in owners.items() if len(names) > 1}


def copied_channels(facts: Iterable[ImageFacts]) -> dict[str, tuple[str, str]]:
    """patient_id -> two sequences of that patient that hold the very same voxels."""
    seen: dict[tuple[str, str], str] = {}
    copies: dict[str, tuple[str, str]] = {}
    for fact in facts:
        if not fact.content or fact.role == MASK:
            continue
        key = (fact.patient_id, fact.content)
        if key in seen:
            copies[fact.patient_id] = (seen[key], fact.role)
        seen.setdefault(key, fact.role)
    return copies


def refuse_leakage(subsets: Mapping[str, str], facts: Iterable[ImageFacts]) -> None:
    """Stop when one image stands in two subsets (patient_id -> subset).

    Raises BadInput: naming the two patients and their subsets.
    """
    for names in repeated_images(facts).values():
        known = sorted(name for name in names if name in subsets)
        for name in known[1:]:
            if subsets[name] != subsets[known[0]]:
                raise BadInput(
                    f"patients {known[0]} ({subsets[known[0]]}) and {name} ({subsets[name]})",
                    "the same image under two names, in two sets",
                    "keep each patient in one cohort and one split",
                )
