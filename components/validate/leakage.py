"""Leakage: one patient, under one name or two, both learnt from and tested on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from components.cohort.image_checks.facts import MASKS, ImageFacts
from components.core.errors import BadInput


def repeated_images(facts: Iterable[ImageFacts]) -> dict[str, set[str]]:
    """Voxel-content digest -> patients (two or more) that share such an image."""
    owners: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        if fact.content and fact.role not in MASKS:
            owners[fact.content].add(fact.patient_id)
    return {digest: names for digest, names in owners.items() if len(names) > 1}


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
