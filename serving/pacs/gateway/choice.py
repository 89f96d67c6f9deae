"""Which series of a study are asked about: by the rules of `glioflow ingest`, or a refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from components.cohort.dicom.headers import Instance
from components.cohort.dicom.selection.series_choice import (
    SeriesCandidate,
    candidates_of,
    refuse_doubtful,
)
from components.cohort.dicom.slice_order import order_stack
from components.core.errors import BadInput
from components.core.vocabulary import SEQUENCE_TITLES, Sequence


@dataclass(frozen=True)
class ChosenSeries:
    """What is sent of a study.

    Attributes:
        files: sequence -> its images' files, in the order of the stack.
        age: years at the study.
        digest: names these images; the same whatever else the study holds.
    """

    files: dict[Sequence, tuple[Path, ...]]
    age: float
    digest: str


def choose_series(images: list[Instance], wanted: Collection[Sequence]) -> ChosenSeries:
    """The best volume of each sequence that a release reads.

    Args:
        images: of one study.

    Raises:
        BadInput: a sequence or the age is missing, or the images are of several persons.
    """
    if not images:
        raise BadInput("study", "no readable MR image", "send the original series")
    if len({image.patient.strip().upper() for image in images}) > 1:
        raise BadInput("study", "images of several patients", "mend the study in the archive")
    found = candidates_of(images)
    chosen = {sequence: _best(found, sequence) for sequence in Sequence if sequence in wanted}
    age = next((i.age for stack in chosen.values() for i in stack if i.age is not None), None)
    if age is None:
        raise BadInput("study", "no age", "send images with PatientAge or PatientBirthDate")
    uids = [image.uid for stack in chosen.values() for image in stack]
    return ChosenSeries(
        {s: tuple(dict.fromkeys(i.path for i in stack)) for s, stack in chosen.items()},
        age,
        hashlib.sha256("\n".join([f"{age:g}", *uids]).encode()).hexdigest()[:32],
    )


def _best(found: list[SeriesCandidate], sequence: Sequence) -> list[Instance]:
    """Images of the best usable candidate. Raises BadInput: why the best is none."""
    problems: list[BadInput] = []
    fitting = [c for c in found if c.verdict.sequence is sequence]
    for candidate in sorted(fitting, key=lambda c: c.rank):
        try:
            refuse_doubtful(candidate, "study")
            ordered, _ = order_stack(f"series {candidate.images[0].number}", candidate.images)
        except BadInput as error:
            problems.append(error)
            continue
        return ordered
    title = SEQUENCE_TITLES[sequence]
    if problems:
        first = problems[0]
        raise BadInput(f"{title}, {first.subject}", first.problem, "send another series")
    raise BadInput("study", f"no {title} among its series", "send that series too")
