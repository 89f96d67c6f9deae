"""Each bad input quarantines the right patient for the right reason, and nobody is lost."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.cohort.manifest import read_manifest
from components.core.errors import BadInput
from components.validate.validate import validate_manifest
from tests.validate.factories import CASES, SETTINGS, Cohort, spoil_patient

GOOD = 4
"""Rows before the first spoilt patient; between two of these stands one that nothing is done to."""


def row_of(case: str) -> int:
    """Row of the patient that is spoilt in the manner of `case`."""
    return GOOD + 1 + 2 * CASES.index(case)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, dict[str, str], Path, Any]:
    """One cohort with every kind of bad patient in it, validated once."""
    folder = tmp_path_factory.mktemp("spoilt")
    cohort = Cohort(folder / "cohort", patients=GOOD + 2 * len(CASES) + 1)
    reasons = {case: spoil_patient(cohort, case, row_of(case)) for case in CASES}
    report = validate_manifest(cohort.write(), SETTINGS, folder / "out").report
    return cohort, reasons, folder / "out", report


@pytest.mark.parametrize("case", CASES)
def test_a_bad_patient_is_quarantined_for_its_reason(spoilt: Any, case: str) -> None:
    cohort, reasons, out, _ = spoilt
    row = row_of(case)
    with (out / "quarantine.csv").open(newline="") as stream:
        lines = [line for line in csv.DictReader(stream) if line["row"] == str(row + 1)]
    assert any(reasons[case] in line["reason"] for line in lines), lines
    assert all(line["remedy"] for line in lines)
    assert {line["patient_id"] for line in lines} <= {f"p{row}", f"row {row + 1}"} | {
        cohort.rows[row]["patient_id"]
    }


def test_the_rest_is_accepted(spoilt: Any) -> None:
    cohort, _, out, report = spoilt
    bad = {row_of(case) for case in CASES}
    accepted = {patient.patient_id for patient in read_manifest(out / "accepted.csv")}
    assert accepted == {f"p{row}" for row in range(len(cohort.rows)) if row not in bad}
    assert report["quarantined"] == len(CASES) == len(report["reasons"])
    assert len(CASES) >= 40


def test_the_cohort_as_a_whole_is_judged(spoilt: Any) -> None:
    *_, report = spoilt
    checks = {check["what"]: check for check in report["cohort_checks"]}
    assert checks["both IDH classes are there"]["ok"]
    assert not checks["every patient has one row"]["ok"]
    assert checks["every patient has one row"]["found"] == "2 rows share an id"
    assert not checks["sex holds M, F or nothing"]["ok"]
    assert "'female'" in checks["sex holds M, F or nothing"]["found"]
    assert not checks["codeletion is known for 80% or more"]["ok"]
    assert checks["age is known for 80% or more"]["ok"]


def test_an_empty_dicom_folder_is_named(tmp_path: Path) -> None:
    cohort = Cohort(tmp_path / "cohort")
    (cohort.folder / "series").mkdir()
    cohort.rows[3]["t1c"] = "series"
    report = validate_manifest(cohort.write(), SETTINGS, tmp_path / "out").report
    assert report["reasons"] == {"p3": ["t1c: a folder without a DICOM series"]}


def test_great_expectations_tells_the_console_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    validate_manifest(Cohort(tmp_path / "cohort").write(), SETTINGS, tmp_path / "out")
    assert not [record for record in caplog.records if "great_expectations" in record.name]


def test_a_comma_too_many_shifts_no_cell(tmp_path: Path) -> None:
    path = Cohort(tmp_path / "cohort").write()
    path.write_text(path.read_text().replace("p3,a,", "p3,Clinic, ward a,"))
    report = validate_manifest(path, SETTINGS, tmp_path / "out").report
    assert report["reasons"] == {"p3": ["split: more cells than the header has columns"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return Cohort(tmp_path_factory.mktemp("whole"))


@given(spoils=st.dictionaries(st.integers(1, 7), st.sampled_from(CASES), min_size=0, max_size=6))
@settings(max_examples=10, deadline=None)
def test_nobody_is_ever_lost(
    whole: Cohort, tmp_path_factory: pytest.TempPathFactory, spoils: dict[int, str]
) -> None:
    folder = tmp_path_factory.mktemp("lost")
    cohort, out = whole.copy(folder / "cohort"), folder / "out"
    for row, case in spoils.items():
        spoil_patient(cohort, case, row)
    try:
        report = validate_manifest(cohort.write(), SETTINGS, out).report
    except BadInput as error:
        # A split in some rows only concerns the whole cohort: then nothing at all is written.
        assert "split" in str(error)
        assert not out.exists()
        return
    accepted = read_manifest(out / "accepted.csv")
    assert report["accepted"] + report["quarantined"] == report["patients"] == 8
    assert len(accepted) == report["accepted"]
    assert len(report["reasons"]) == report["quarantined"]
    # An image of a neighbour whose own row was refused unread is no second one.
    alone = [r for r, case in spoils.items() if case == "t1c-of-another" and r - 1 in spoils]
    assert report["quarantined"] >= len(spoils) - len(alone)
