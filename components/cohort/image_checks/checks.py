"""Every limit of images and masks, and what a failure means and mends: the same on every road."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from components.cohort.image_checks.facts import MASK, MASKS, ImageFacts
from components.cohort.manifest import BRAIN_MASK
from components.cohort.masks import SAME_PLACE_MM
from components.core.errors import BadInput
from components.core.settings import Settings
from components.core.vocabulary import Sequence

MODEL_SLICES = 5
"""Slices of the tumour that the classifier reads (Choi et al. 2021)."""
MOST_DRAWN = 0.999
"""Share of a mask's voxels that are drawn, above which nothing is left outside."""
BYTE_LEVELS = 256
"""Grey values that fit in a byte: an image with no more was probably exported for the screen."""


class ImageLimits(Settings):
    """What an image and a mask must be like.

    Attributes:
        spacing_mm: smallest and largest plausible voxel size along any axis.
        field_mm: smallest and largest plausible field of view along any axis.
        min_slices: fewest slices of a usable volume.
        max_missing_slices: share of empty slices inside the head above which a volume is refused.
        min_overlap: smallest share of the T1C's box that another sequence must cover.
        min_in_head: smallest share of a mask that must be no air in the T1C.
        mask_ml: smallest and largest plausible tumour.
    """

    spacing_mm: tuple[float, float] = (0.2, 10.0)
    field_mm: tuple[float, float] = (90.0, 400.0)
    min_slices: int = Field(10, ge=3)
    max_missing_slices: float = Field(0.5, ge=0.0, le=1.0)
    min_overlap: float = Field(0.5, ge=0.0, le=1.0)
    min_in_head: float = Field(0.5, ge=0.0, le=1.0)
    mask_ml: tuple[float, float] = (0.1, 600.0)


@dataclass(frozen=True)
class Check:
    """One expectation on one column, and its words for people.

    Attributes:
        kind: Great Expectations' class name.
        arguments: its arguments.
        reason: what is wrong; {value} is the cell.
        remedy: how to mend it; {remedy} is what was said where the image could not be read.
        fatal: quarantine the patient; otherwise a warning that is carried along.
        roles: image roles it concerns; None for rows of patients.
    """

    kind: str
    column: str
    arguments: dict[str, Any]
    reason: str
    remedy: str
    fatal: bool = True
    roles: tuple[str, ...] | None = None


def image_checks(limits: ImageLimits, sequences: tuple[Sequence, ...]) -> list[Check]:
    """Checks on the facts of images (one row an image)."""
    volumes = tuple(sequence.value for sequence in sequences)
    error = Check("ExpectColumnValuesToBeInSet", "error", {"value_set": [""]}, "{value}",
                  "{remedy}", roles=(*volumes, *MASKS))  # fmt: skip
    mended = Check("ExpectColumnValuesToBeInSet", "notes", {"value_set": [""]}, "{value}",
                   "look at it, or export it again", fatal=False, roles=volumes)  # fmt: skip
    return [
        error,
        mended,
        *_sampling_checks(limits, (*volumes, MASK)),
        *_volume_checks(limits, volumes),
        *_warnings(volumes),
        *_mask_checks(limits, (MASK,)),
        *_place_checks(limits, MASKS),
        _between((BRAIN_MASK,), "foreground", "the given mask is empty",
                 "draw the brain, or leave the cell empty", above=0),
    ]  # fmt: skip


def _between(
    roles: tuple[str, ...],
    column: str,
    reason: str,
    remedy: str,
    *,
    fatal: bool = True,
    **by: float,
) -> Check:
    """`by`: least, most (both inclusive) or above (exclusive)."""
    names = {"least": "min_value", "most": "max_value", "above": "min_value"}
    arguments: dict[str, Any] = {names[name]: value for name, value in by.items()}
    if "above" in by:
        arguments["strict_min"] = True
    return Check("ExpectColumnValuesToBeBetween", column, arguments, reason, remedy, fatal, roles)


def _sampling_checks(limits: ImageLimits, roles: tuple[str, ...]) -> list[Check]:
    size, spacing = "voxel size of {value:.2f} mm", "check the header's spacing, in mm"
    return [
        _between(roles, "slices", "only {value:.0f} slices", "give the whole volume",
                 least=limits.min_slices),
        _between(roles, "spacing_min", size, spacing, least=limits.spacing_mm[0]),
        _between(roles, "spacing_max", size, spacing, most=limits.spacing_mm[1]),
    ]  # fmt: skip


def _volume_checks(limits: ImageLimits, roles: tuple[str, ...]) -> list[Check]:
    return [
        _between(roles, "field_min", "field of view of only {value:.0f} mm",
                 "check the spacing, or give the whole head", least=limits.field_mm[0]),
        _between(roles, "field_max", "field of view of {value:.0f} mm",
                 "check the spacing, in mm", most=limits.field_mm[1]),
        _between(roles, "spread", "every voxel has the same value",
                 "export the image again", above=0),
        _between(roles, "missing_slices", "{value:.0%} of its slices are empty",
                 "give a complete volume", most=limits.max_missing_slices),
        _between(roles, "overlap", "covers only {value:.0%} of the T1C",
                 "check that both images show the same head", least=limits.min_overlap),
    ]  # fmt: skip


def _warnings(roles: tuple[str, ...]) -> list[Check]:
    t1c = (Sequence.T1C.value,)
    return [
        _between(roles, "missing_slices", "{value:.0%} of its slices are empty",
                 "check the export", fatal=False, most=0.1),
        _between(roles, "overlap", "covers only {value:.0%} of the T1C",
                 "check the field of view", fatal=False, least=0.7),
        _between(roles, "cut_head", "the head is cut by the field of view",
                 "a wider field of view would be better", fatal=False, most=0.1),
        _between(roles, "background", "a grey background: air at {value:.0%} of the bright tissue",
                 "give the original images", fatal=False, most=0.15),
        _between(roles, "levels", "256 grey values or fewer: exported for a screen",
                 "give the scanner's own values", fatal=False, least=BYTE_LEVELS + 1),
        _between(t1c, "glare",
                 "something in the brain is {value:.1f} times as bright as the tissue around it",
                 "look at the image: haemorrhage, oil or an implant?", fatal=False, most=3.25),
        _between(roles, "empty_corners", "empty wedges in its corners: turned and resampled before",
                 "give the original images", fatal=False, most=0.5),
        _between(roles, "tilt", "tilted by more than 5° against the body's axes",
                 "nothing: alignment takes care of it", fatal=False, most=5.0),
        _between(roles, "anisotropy", "voxels {value:.1f} times longer than wide",
                 "thinner slices would be better", fatal=False, most=8),
    ]  # fmt: skip


def _place_checks(limits: ImageLimits, roles: tuple[str, ...]) -> list[Check]:
    return [
        _between(roles, "overlap", "only {value:.0%} of what is drawn lies inside the T1C",
                 "check that the mask belongs to this patient", least=limits.min_overlap),
        _between(roles, "off_mm", "of the T1C's size, but {value:.0f} mm away from it",
                 "check its affine: it must lie where the T1C lies", most=SAME_PLACE_MM),
        _between(roles, "in_head", "only {value:.0%} of what is drawn is no air in the T1C",
                 "check that the mask belongs to this image", least=limits.min_in_head),
        _between(roles, "foreground", "a mask without background: nowhere 0",
                 "save 0 outside of what is drawn", most=MOST_DRAWN),
    ]  # fmt: skip


def _mask_checks(limits: ImageLimits, roles: tuple[str, ...]) -> list[Check]:
    return [
        _between(roles, "volume_ml", "an empty tumour mask, or nearly ({value:.2f} mL)",
                 "draw the tumour, or leave the cell empty", least=limits.mask_ml[0]),
        _between(roles, "volume_ml", "a tumour mask of {value:.0f} mL",
                 "check that the mask shows the tumour", most=limits.mask_ml[1]),
        _between(roles, "drawn_slices",
                 "the tumour is drawn on {value:.0f} slices, fewer than the classifier reads",
                 "check that no slice of the mask was lost", fatal=False, least=MODEL_SLICES),
    ]  # fmt: skip


def first_failure(facts: ImageFacts, checks: Iterable[Check]) -> BadInput | None:
    """The first fatal check that an image fails, as what to raise; None where it passes all.

    A fact that was not measured (None) fails nothing, as in Great Expectations.
    """
    for check in checks:
        value = getattr(facts, check.column)
        if not check.fatal or facts.role not in (check.roles or ()) or value is None:
            continue
        if not _passes(check, value):
            reason = check.reason.format(value=value)
            remedy = check.remedy.format(remedy=facts.remedy)
            return BadInput(facts.path, f"{facts.role}: {reason}", remedy)
    return None


def _passes(check: Check, value: Any) -> bool:
    """One value against a check, by the rules of Great Expectations' two kinds used for images."""
    limits = check.arguments
    if check.kind == "ExpectColumnValuesToBeInSet":
        return value in limits["value_set"]
    low, high = limits.get("min_value", -float("inf")), limits.get("max_value", float("inf"))
    return (value > low if limits.get("strict_min") else value >= low) and bool(value <= high)
