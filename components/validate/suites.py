"""Great Expectations suites: every limit of the validation, and what a failure means and mends."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.cohort.manifest import AGE_YEARS
from components.validate.image_facts import MASK
from components.validate.settings import ValidateSettings

if TYPE_CHECKING:
    import pandas as pd

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


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


@dataclass(frozen=True)
class Finding:
    """A check that one patient failed."""

    patient_id: str
    column: str
    reason: str
    remedy: str
    fatal: bool


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
            "levels",
            {"max_value": 8},
            "{value:.0f} different values in a mask",
            "give a mask, not an image",
            roles=(MASK,),
        ),
    ]


def run_suite(table: pd.DataFrame, expectations: list[Any]) -> list[Any]:
    """Validate one suite on a table; Great Expectations' results in the order of `expectations`.

    Raises:
        RuntimeError: an expectation could not run at all, which a mere result would hide.
    """
    import great_expectations as gx

    # It tells of a temporary folder for each suite, which it never makes.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    asset = context.data_sources.add_pandas("patients").add_dataframe_asset("rows")
    definition = asset.add_batch_definition_whole_dataframe("all")
    batch = definition.get_batch({"dataframe": table})
    for index, expectation in enumerate(expectations):
        expectation.meta = {"index": index}
    suite = gx.ExpectationSuite(name="suite", expectations=expectations)
    results = batch.validate(suite, result_format="COMPLETE").results
    for result in results:
        if (result.exception_info or {}).get("raised_exception") or not result.result:
            raise RuntimeError(f"{result.expectation_config}: {result.exception_info}")
    return sorted(results, key=lambda result: result.expectation_config.meta["index"])


def judge(table: pd.DataFrame, checks: list[Check]) -> list[Finding]:
    """Run the checks on a table with a patient_id column; a finding per patient and failed check.

    Unread images have nulls, which no check but the one on `error` judges.
    """
    import great_expectations.expectations as gxe

    findings: dict[int, list[Finding]] = {}
    for roles in dict.fromkeys(check.roles for check in checks):
        rows = table if roles is None else table[table["role"].isin(roles)]
        rows = rows.reset_index(drop=True)
        chosen = [index for index, check in enumerate(checks) if check.roles == roles]
        if rows.empty:
            continue
        expectations = [
            getattr(gxe, checks[index].kind)(column=checks[index].column, **checks[index].arguments)
            for index in chosen
        ]
        for index, result in zip(chosen, run_suite(rows, expectations), strict=True):
            failed = [] if result.success else result.result["unexpected_index_list"]
            findings[index] = [_finding(checks[index], rows.loc[row]) for row in failed]
    return [finding for index in sorted(findings) for finding in findings[index]]


def _finding(check: Check, row: pd.Series) -> Finding:
    column = str(row["role"]) if check.roles else check.column
    reason = check.reason.format(value=row[check.column])
    return Finding(
        patient_id=str(row["patient_id"]),
        column=column,
        reason=f"{column}: {reason}" if check.roles else reason,
        remedy=check.remedy.format(remedy=row.get("remedy", "")),
        fatal=check.fatal,
    )
