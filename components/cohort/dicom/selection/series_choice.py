"""Which series of a patient becomes which image, and where the headers do not tell."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from components.cohort.dicom.headers import Instance
from components.cohort.dicom.selection.sequence_type import (
    Verdict,
    has_agent,
    named_with,
    sequence_type,
)
from components.cohort.dicom.slice_order import order_stack
from components.cohort.dicom.stacks import by_series, join_series, split
from components.core.errors import BadInput
from components.core.vocabulary import Sequence

_CHOICE = re.compile(r"(?P<patient>[^:]+):(?P<sequence>t1c|t2|flair)=(?P<series>\d+)")


@dataclass(frozen=True)
class SeriesCandidate:
    """One volume of a series as judged; `study` counts a patient's studies from 1."""

    images: tuple[Instance, ...]
    verdict: Verdict
    study: int
    by_hand: bool = False

    @property
    def rank(self) -> tuple[object, ...]:
        """Smaller is better: chosen, sure, from the header, original, many slices, early."""
        first = self.images[0]
        return (
            not self.by_hand,
            self.verdict.doubtful,
            not self.verdict.by_headers,
            "DERIVED" in first.image_type,
            -len(self.images),
            first.number,
            first.series,
        )


def candidates_of(images: list[Instance]) -> list[SeriesCandidate]:
    """The patient's volumes, in the order of study and series number."""
    studies = sorted({(image.date, image.study) for image in images})
    stacks = [stack for series in join_series(by_series(images)) for stack in split(series)]
    found = [
        SeriesCandidate(
            tuple(stack),
            sequence_type(stack[0]),
            1 + studies.index((stack[0].date, stack[0].study)),
        )
        for stack in stacks
    ]
    ordered = sorted(found, key=lambda c: (c.study, c.images[0].number, c.images[0].te or 0.0))
    return [_weighed(candidate, ordered) for candidate in ordered]


def _weighed(candidate: SeriesCandidate, others: list[SeriesCandidate]) -> SeriesCandidate:
    """The candidate, doubtful where other series of its study speak against it as a T1C."""
    verdict = candidate.verdict
    if verdict.sequence is not Sequence.T1C or verdict.doubtful:
        return candidate
    study = [c for c in others if c.study == candidate.study]
    t1c = [c for c in study if c.verdict.sequence is Sequence.T1C and not c.verdict.doubtful]
    others_named = [c for c in t1c if c is not candidate and named_with(c.images[0])]
    reason = ""
    if others_named and not named_with(candidate.images[0]):
        reason = f"but series {_numbers(others_named)} is the one named as with contrast"
    elif not named_with(candidate.images[0]) and _agent_everywhere(study):
        alike = [c for c in t1c if _protocol(c) == _protocol(candidate)]
        if len(alike) > 1:
            reason = f"as every series; series {_numbers(alike)} cannot be told apart"
    if not reason:
        return candidate
    return replace(
        candidate, verdict=replace(verdict, reason=f"{verdict.reason}, {reason}", doubtful=True)
    )


def _agent_everywhere(study: list[SeriesCandidate]) -> bool:
    """Whether the agent is named in every image of a study: it then tells no series from another.

    A study of T1-weighted images alone says nothing else.
    """
    return all(has_agent(candidate.images[0]) for candidate in study)


def _protocol(candidate: SeriesCandidate) -> tuple[object, ...]:
    """What two scans of one protocol, before and after contrast, have in common."""
    first = candidate.images[0]
    plane = tuple(np.round(np.abs(first.orientation or ()), 1))
    return first.tr, first.te, first.ti, first.size, plane


def _numbers(candidates: Iterable[SeriesCandidate]) -> str:
    return ", ".join(sorted({str(c.images[0].number) for c in candidates}))


def best_study(candidates: list[SeriesCandidate]) -> int:
    """The first study with all three sequences in usable volumes, or else with the most."""
    sequences: dict[int, set[Sequence]] = defaultdict(set)
    for candidate in candidates:
        found = sequences[candidate.study]
        if candidate.verdict.sequence and _usable(candidate):
            found.add(candidate.verdict.sequence)
    by_hand = {candidate.study for candidate in candidates if candidate.by_hand}
    return min(sequences, key=lambda study: (study not in by_hand, -len(sequences[study]), study))


def _usable(candidate: SeriesCandidate) -> bool:
    if candidate.verdict.doubtful and not candidate.by_hand:
        return False
    try:
        order_stack("", candidate.images)
    except BadInput:
        return False
    return True


def refuse_doubtful(candidate: SeriesCandidate, name: str) -> None:
    """Raises BadInput for a candidate whose evidence contradicts, unless it was chosen by hand."""
    if candidate.verdict.doubtful and not candidate.by_hand:
        sequence, number = candidate.verdict.sequence, candidate.images[0].number
        assert sequence is not None
        raise BadInput(
            f"series {number}",
            "the evidence of a contrast agent contradicts or is missing",
            f"look at it; --choose {name}:{sequence.value}={number} takes it",
        )


def parse_choices(texts: Iterable[str]) -> dict[tuple[str, Sequence], int]:
    """(patient, sequence) -> series number. Raises BadInput for what is no choice."""
    found = {}
    for text in texts:
        match = _CHOICE.fullmatch(text)
        if match is None:
            raise BadInput("--choose", f"'{text}' is no choice", "write PATIENT:t1c=SERIES")
        found[match["patient"], Sequence(match["sequence"])] = int(match["series"])
    return found


def with_choice(
    candidate: SeriesCandidate, name: str, choices: Mapping[tuple[str, Sequence], int]
) -> SeriesCandidate:
    """The candidate as the sequence it was chosen for by hand, if it was."""
    for sequence in Sequence:
        if choices.get((name, sequence)) == candidate.images[0].number:
            verdict = Verdict(sequence, f"chosen by hand ({candidate.verdict.reason})")
            return replace(candidate, verdict=verdict, by_hand=True)
    return candidate
