"""Every limit of the validation of patients, and what a failure means and mends."""

from __future__ import annotations

from components.cohort.image_checks.checks import Check
from components.cohort.manifest import AGE_YEARS, FLAGS
from components.validate.settings import ValidateSettings


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
