"""Which series is the T1C, and when nobody can tell."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from components.cohort.dicom.ingest import ingest
from components.cohort.images import read_image
from components.cohort.manifest import read_manifest
from components.core.errors import BadInput
from tests.cohort.dicom_writer import FLAIR, T1, T1C, T2, phantom, write_series
from tests.cohort.test_dicom_series import same_image

Tags = dict[str, Any]


def series(number: int, base: Tags, name: str, **more: Any) -> Tags:
    return {**base, "SeriesNumber": number, "SeriesDescription": name, **more}


AGENT = {"ContrastBolusAgent": "Dotarem"}


def taken(
    folder: Path,
    *given: Tags,
    choose: tuple[str, ...] = (),
    change: Callable[[list[Dataset]], list[Dataset]] = list,
) -> dict[str, int | None]:
    """Sequence -> number of the series that became it; the image is looked at, too."""
    for tags in given:
        number = tags["SeriesNumber"]
        write_series(folder / "dicom" / str(number), phantom(number), tags, change)
    done = ingest(folder / "dicom", folder / "out", choose=choose)
    (patient,) = read_manifest(done.manifest)
    with done.chosen.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["chosen"]]
    found: dict[str, int | None] = {row["sequence"]: int(row["series"]) for row in rows}
    for name in ("t1c", "t2", "flair"):
        path = getattr(patient, name)
        assert (path is not None) is (name in found)
        if path:
            assert same_image(read_image(path), phantom(found[name] or 0))
    return found


def test_the_named_one_is_taken_where_the_agent_is_named_everywhere(tmp_path: Path) -> None:
    found = taken(
        tmp_path,
        series(2, T1C, "t1_se_tra"),
        series(3, T2, "t2", **AGENT),
        series(8, T1C, "t1_se_tra POST"),
    )
    assert found == {"t1c": 8, "t2": 3}


def test_one_named_pre_is_not_taken(tmp_path: Path) -> None:
    found = taken(tmp_path, series(2, T1C, "t1 pre contrast"), series(8, T1C, "t1 tra"))
    assert found == {"t1c": 8}


def test_two_alike_with_the_agent_everywhere_are_left_to_a_person(tmp_path: Path) -> None:
    given = (series(2, T1C, "t1 tra"), series(3, T2, "t2", **AGENT), series(8, T1C, "t1 tra"))
    assert taken(tmp_path / "a", *given) == {"t2": 3}
    text = (tmp_path / "a" / "out" / "series.csv").read_text()
    assert "series 2, 8 cannot be told apart" in text
    assert "--choose P0001:t1c=8" in text
    assert taken(tmp_path / "b", *given, choose=("P0001:t1c=8",)) == {"t1c": 8, "t2": 3}


def test_one_without_an_agent_makes_the_others_sure(tmp_path: Path) -> None:
    found = taken(
        tmp_path, series(2, T1, "t1 tra"), series(7, T1C, "t1 tra"), series(8, T1C, "t1 tra")
    )
    assert found == {"t1c": 7}


@pytest.mark.parametrize("agent", ["N/A", "NO CONTRAST", "0 ml", "kein KM", "sans contraste", "无"])
def test_an_agent_that_says_none_is_none(tmp_path: Path, agent: str) -> None:
    more = {"ContrastBolusAgent": agent, "SpecificCharacterSet": "ISO_IR 192"}
    assert taken(tmp_path, series(2, T1, "t1 tra", **more), series(3, T2, "t2")) == {"t2": 3}


def test_a_dose_of_0_is_none(tmp_path: Path) -> None:
    more = {"ContrastBolusVolume": 0.0}
    assert taken(tmp_path, series(2, T1C, "t1 tra", **more), series(3, T2, "t2")) == {"t2": 3}


def test_an_unknown_agent_is_left_to_a_person(tmp_path: Path) -> None:
    assert taken(tmp_path, series(2, T1, "t1 tra", ContrastBolusAgent="XYZ-17")) == {}


NO_BRAIN: dict[str, Tags] = {
    "spine by body part": {"BodyPartExamined": "CSPINE"},
    "spine by name": {"SeriesDescription": "t2_tse_sag_hws"},
    "thoracic": {"SeriesDescription": "SAG T2 THORACIC SPINE"},
    "lumbar by protocol": {"ProtocolName": "L-Spine T2"},
    "Dixon fat": {"ImageType": ["DERIVED", "PRIMARY", "DIXON", "FAT"]},
    "Dixon water": {"ImageType": ["DERIVED", "PRIMARY", "DIXON", "WATER"]},
    "subtraction": {"ImageType": ["DERIVED", "SECONDARY", "SUB"]},
    "MPR by type": {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
    "MPR by name": {"SeriesDescription": "T2 SPACE MPR cor"},
    "phase": {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
    "phase by component": {"ComplexImageComponent": "PHASE"},
    "derived": {"ImageType": ["DERIVED", "SECONDARY", "OTHER"]},
}


@pytest.mark.parametrize("case", NO_BRAIN)
def test_what_is_no_magnitude_image_of_the_brain_is_passed_over(tmp_path: Path, case: str) -> None:
    other = {**T2, "SeriesNumber": 2, **NO_BRAIN[case]}
    assert taken(tmp_path, other, series(6, T2, "t2 brain")) == {"t2": 6}


def test_a_brain_is_not_taken_for_a_neck(tmp_path: Path) -> None:
    body = {"BodyPartExamined": "HEADNECK"}
    assert taken(tmp_path, series(2, T2, "Ax T2 brain", BodyPartExamined="SPINE")) == {"t2": 2}
    assert taken(tmp_path / "b", series(2, FLAIR, "flair", **body)) == {"flair": 2}


def test_the_next_whole_study_is_taken_where_the_first_is_broken(tmp_path: Path) -> None:
    def broken(items: list[Dataset]) -> list[Dataset]:
        return items[:5] + items[6:]

    root = tmp_path / "dicom"
    for study, change in (("a", broken), ("b", list)):
        for tags in (T1C, T2, FLAIR):
            number = tags["SeriesNumber"]
            spoil = change if tags is T2 else list
            write_series(root / study / str(number), phantom(number), tags, spoil, study=study)
    (patient,) = read_manifest(ingest(root, tmp_path / "out").manifest)
    assert patient.t1c and patient.t2 and patient.flair


@pytest.mark.parametrize("text", ["P0001", "P0001:t1=7", "P0001:t1c=x", "t1c=7", ""])
def test_what_is_no_choice_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput, match="is no choice"):
        taken(tmp_path, T2, choose=(text,))
