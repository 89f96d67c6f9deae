"""Every limit of the validation of patients and images, and what a failure means and mends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.cohort.manifest import AGE_YEARS
from components.core.vocabulary import Sequence
from components.validate.images.facts import MASK
from components.validate.settings import ValidateSettings

MODEL_SLICES = 5
"""Slices of the tumour that the classifier reads (Choi et al. 2021)."""
BYTE_LEVELS = 256
"""Grey values that fit in a byte: an image with no more was probably exported for the screen."""
FLAGS = "flags"
"""Column of remarks by whoever wrote the manifest."""


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


def patient_checks(settings: ValidateSettings) -> list[Check]:
    """Checks on the rows of accepted patients (one row a patient)."""
    low, high = AGE_YEARS
    checks = [
        Check(
            "ExpectColumnValuesToBeBetween",
            "age",
            {"min_value": low, "max_value": high},
            "age {value} is out of range",
            f"give the age in years, {low:.0f} to {high:.0f}",
        ),
        Check(
            "ExpectColumnValuesToNotBeNull",
            "idh",
            {},
            "IDH status unknown: kept for prediction, left out of training and statistics",
            "fill column idh with 1 or 0",
            fatal=False,
        ),
        Check(
            "ExpectColumnValuesToNotBeInSet",
            "spacing_source",
            {"value_set": ["estimated"]},
            "voxel size estimated, not measured: volumes and shapes are uncertain",
            "give images with the scanner's spacing",
            fatal=False,
        ),
        Check(
            "ExpectColumnValuesToBeInSet",
            FLAGS,
            {"value_set": [""]},
            "flagged in the manifest: {value}",
            "see what the column's writer knows",
            fatal=False,
        ),
    ]
    if settings.require_age:
        checks.append(
            Check("ExpectColumnValuesToNotBeNull", "age", {}, "no age", "fill column age, in years")
        )
    if settings.require_mask:
        checks.append(
            Check(
                "ExpectColumnValuesToNotBeNull",
                "tumor_mask",
                {},
                "no manual tumour mask, which training needs",
                "fill column tumor_mask",
            )
        )
    return checks


def image_checks(settings: ValidateSettings) -> list[Check]:
    """Checks on the facts of images (one row an image)."""
    volumes = tuple(sequence.value for sequence in settings.sequences)
    everything = (*volumes, MASK)
    between = "ExpectColumnValuesToBeBetween"
    return [
        Check(
            "ExpectColumnValuesToBeInSet",
            "error",
            {"value_set": [""]},
            "{value}",
            "{remedy}",
            roles=everything,
        ),
        Check(
            between,
            "slices",
            {"min_value": settings.min_slices},
            "only {value:.0f} slices",
            "give the whole volume",
            roles=everything,
        ),
        Check(
            between,
            "spacing_min",
            {"min_value": settings.spacing_mm[0]},
            "voxel size of {value:.2f} mm",
            "check the header's spacing, in mm",
            roles=everything,
        ),
        Check(
            between,
            "spacing_max",
            {"max_value": settings.spacing_mm[1]},
            "voxel size of {value:.2f} mm",
            "check the header's spacing, in mm",
            roles=everything,
        ),
        Check(
            between,
            "field_min",
            {"min_value": settings.field_mm[0]},
            "field of view of only {value:.0f} mm",
            "check the spacing, or give the whole head",
            roles=volumes,
        ),
        Check(
            between,
            "field_max",
            {"max_value": settings.field_mm[1]},
            "field of view of {value:.0f} mm",
            "check the spacing, in mm",
            roles=volumes,
        ),
        Check(
            between,
            "spread",
            {"min_value": 0, "strict_min": True},
            "every voxel has the same value",
            "export the image again",
            roles=volumes,
        ),
        Check(
            between,
            "missing_slices",
            {"max_value": settings.max_missing_slices},
            "{value:.0%} of its slices are empty",
            "give a complete volume",
            roles=volumes,
        ),
        Check(
            between,
            "missing_slices",
            {"max_value": 0.1},
            "{value:.0%} of its slices are empty",
            "check the export",
            fatal=False,
            roles=volumes,
        ),
        Check(
            between,
            "oriented",
            {"min_value": 1},
            "the header does not say which way the patient lies",
            "convert it again from DICOM, or set the sform after checking left and right",
            roles=everything,
        ),
        Check(
            between,
            "overlap",
            {"min_value": settings.min_overlap},
            "covers only {value:.0%} of the T1C",
            "check that both images show the same head",
            roles=volumes,
        ),
        Check(
            between,
            "overlap",
            {"min_value": settings.min_overlap},
            "only {value:.0%} of what is drawn lies inside the T1C",
            "check that the mask belongs to this patient",
            roles=(MASK,),
        ),
        Check(
            between,
            "overlap",
            {"min_value": 0.7},
            "covers only {value:.0%} of the T1C",
            "check the field of view",
            fatal=False,
            roles=volumes,
        ),
        Check(
            between,
            "cut_head",
            {"max_value": 0.1},
            "the head is cut by the field of view",
            "a wider field of view would be better",
            fatal=False,
            roles=volumes,
        ),
        Check(
            between,
            "background",
            {"max_value": 0.15},
            "a grey background: air at {value:.0%} of the bright tissue",
            "give the original images",
            fatal=False,
            roles=volumes,
        ),
        Check(
            between,
            "levels",
            {"min_value": BYTE_LEVELS + 1},
            "256 grey values or fewer: exported for a screen",
            "give the scanner's own values",
            fatal=False,
            roles=volumes,
        ),
        Check(
            between,
            "glare",
            {"max_value": 3.25},
            "something in the brain is {value:.1f} times as bright as the tissue around it",
            "look at the image: haemorrhage, oil or an implant?",
            fatal=False,
            roles=(Sequence.T1C.value,),
        ),
        Check(
            between,
            "empty_corners",
            {"max_value": 0.5},
            "empty wedges in its corners: turned and resampled before",
            "give the original images",
            fatal=False,
            roles=volumes,
        ),
        Check(
            between,
            "tilt",
            {"max_value": 5.0},
            "tilted by more than 5° against the body's axes",
            "nothing: alignment takes care of it",
            fatal=False,
            roles=volumes,
        ),
        Check(
            between,
            "anisotropy",
            {"max_value": 8},
            "voxels {value:.1f} times longer than wide",
            "thinner slices would be better",
            fatal=False,
            roles=volumes,
        ),
        Check(
            between,
            "volume_ml",
            {"min_value": settings.mask_ml[0]},
            "an empty tumour mask ({value:.2f} mL)",
            "draw the tumour, or leave the cell empty",
            roles=(MASK,),
        ),
        Check(
            between,
            "volume_ml",
            {"max_value": settings.mask_ml[1]},
            "a tumour mask of {value:.0f} mL",
            "check that the mask shows the tumour",
            roles=(MASK,),
        ),
        Check(
            between,
            "drawn_slices",
            {"min_value": MODEL_SLICES},
            "the tumour is drawn on {value:.0f} slices, fewer than the classifier reads",
            "check that no slice of the mask was lost",
            fatal=False,
            roles=(MASK,),
        ),
        Check(
            between,
            "levels",
            {"max_value": 8},
            "{value:.0f} different values in a mask",
            "give a mask, not an image",
            roles=(MASK,),
        ),
    ]
