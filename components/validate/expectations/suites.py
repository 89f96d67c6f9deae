"""Great Expectations: checks run on tables, and what each patient failed."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.cohort.image_checks.checks import Check

if TYPE_CHECKING:
    import pandas as pd

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


@dataclass(frozen=True)
class FailedExpectation:
    """A check that one patient failed."""

    patient_id: str
    column: str
    reason: str
    remedy: str
    fatal: bool


def run_suite(table: pd.DataFrame, expectations: list[Any]) -> list[Any]:
    """Validate one suite on a table; Great Expectations' results in the order of `expectations`.

    Raises RuntimeError: an expectation could not run at all, which a mere result would hide.
    """
    import great_expectations as gx

    # It tells of a temporary folder for each suite, which it never makes.
    for name in ("great_expectations", "great_expectations.data_context.types.base"):
        logging.getLogger(name).setLevel(logging.WARNING)
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


def failures_by_patient(table: pd.DataFrame, checks: list[Check]) -> list[FailedExpectation]:
    """Run the checks on a table with a patient_id column; a finding per patient and failed check.

    Unread images have nulls, which no check but the one on `error` judges.
    """
    import great_expectations.expectations as gxe

    findings: dict[int, list[FailedExpectation]] = {}
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


def _finding(check: Check, row: pd.Series) -> FailedExpectation:
    column = str(row["role"]) if check.roles else check.column
    reason = check.reason.format(value=row[check.column])
    return FailedExpectation(
        patient_id=str(row["patient_id"]),
        column=column,
        reason=f"{column}: {reason}" if check.roles else reason,
        remedy=check.remedy.format(remedy=row.get("remedy", "")),
        fatal=check.fatal,
    )
