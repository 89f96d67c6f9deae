"""Manifests as spreadsheets save them: read where it is safe, refused with the right remedy."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from components.cohort.manifest import parse_patient, read_manifest, read_table
from components.cohort.table_text import repeats
from components.core.errors import BadInput

HEADER = "patient_id,site,t1c,t2,flair,age,idh"
ROW = "p1,here,a.nii,,b.nii,44,1"


def table(folder: Path, content: bytes | str) -> Path:
    path = folder / "m.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_other_separators_and_encodings(tmp_path: Path, separator: str, encoding: str) -> None:
    text = f"{HEADER}\n{ROW}\n".replace(",", separator)
    (patient,) = read_manifest(table(tmp_path, text.encode(encoding)))
    assert (patient.patient_id, patient.age, patient.site) == ("p1", 44.0, "here")


def test_a_semicolon_manifest_keeps_its_commas(tmp_path: Path) -> None:
    path = table(tmp_path, f"{HEADER}\n{ROW}".replace(",", ";").replace("here", "ward a, bed 2"))
    assert read_manifest(path)[0].site == "ward a, bed 2"


@pytest.mark.parametrize("header", [HEADER.upper(), HEADER.title(), HEADER.replace("_", " ")])
def test_the_case_of_a_column_does_not_matter(
    tmp_path: Path, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    (patient,) = read_manifest(table(tmp_path, f"{header}\n{ROW}\n"))
    assert (patient.patient_id, patient.age, int(patient.idh or 0)) == ("p1", 44.0, 1)
    assert "is read as 'patient_id'" in caplog.text


def test_two_cases_of_one_column_are_no_one_s_guess(tmp_path: Path) -> None:
    path = table(tmp_path, f"{HEADER},AGE\n{ROW},71\n")
    (patient,) = read_manifest(path)
    assert (patient.age, patient.extra["AGE"]) == (44.0, "71")
    with pytest.raises(BadInput, match="stands twice"):
        read_table(table(tmp_path, f"{HEADER.replace('age', 'AGE')},Age\n{ROW},71\n"))


def test_an_age_as_dicom_writes_it(tmp_path: Path) -> None:
    assert read_manifest(table(tmp_path, f"{HEADER}\n{ROW.replace('44', '044Y')}"))[0].age == 44.0


@pytest.mark.parametrize(
    ("written", "age"),
    [("44Y", 44.0), ("44 y", 44.0), ("44 years", 44.0), ("44yrs.", 44.0), ("44,5", 44.5),
     ("44.5 y", 44.5), ("nan", None), ("NA", None), ("n/a", None), ("unknown", None), ("-", None)],
)  # fmt: skip
def test_an_age_that_can_mean_one_thing_alone_is_read_and_told(
    tmp_path: Path, written: str, age: float | None
) -> None:
    cell = f'"{written}"'
    found = read_table(table(tmp_path, f"{HEADER}\n{ROW.replace('44', cell)}"))
    assert parse_patient(found, 0).age == age
    told = "unknown" if age is None else f"{age:g}"
    assert found.notes == (f"column age: '{written}' is read as {told}",)


@pytest.mark.parametrize(
    "age",
    ["044M", "044D", "3W", "44 Jahre", "~44", "44+", "44y 3m", "inf", "1e400", "-44", "4_4", "٤٤"],
)
def test_other_ages_are_refused(tmp_path: Path, age: str) -> None:
    text = f"{HEADER}\n{ROW}".replace(",", ";").replace("44", age)
    with pytest.raises(BadInput) as refused:
        parse_patient(read_table(table(tmp_path, text)), 0)
    assert refused.value.subject.endswith("column age")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04" + bytes(60), "a spreadsheet"),
        (b"\xd0\xcf\x11\xe0" + bytes(60), "a spreadsheet"),
        (b"patient_id,site\n\xe9,\xff", "not a readable CSV"),
        (bytes(60), "zero bytes"),
        (b"", "required column"),
        (b'patient_id,"site\n', "not a readable CSV"),
    ],
)
def test_what_is_no_csv_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        read_table(table(tmp_path, content))
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("content", "said", "remedy"),
    [
        (gzip.compress(b"patient_id,site"), "compressed by gzip", "unpack"),
        (b"%PDF-1.7", "a PDF", "save it as CSV"),
        (b"PAR1" + bytes(60), "a Parquet file", "save it as CSV"),
        (b"bplist00" + bytes(60), "a property list", "save it as CSV"),
        (b"\xef\xbb\xbf<html><table>", "HTML or XML", "save it as CSV"),
        (b'<?xml version="1.0"?><Workbook/>', "HTML or XML", "save it as CSV"),
        (b'[{"patient_id": "p1"}]', "JSON", "save it as CSV"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", "git lfs pull"),
    ],
)
def test_what_stands_for_a_csv_is_named(
    tmp_path: Path, content: bytes, said: str, remedy: str
) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        read_table(table(tmp_path, content))
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        f"sep=;\n{HEADER}\n{ROW}\n".replace(",", ";"),
        f'"sep=;"\r\n{HEADER}\r\n{ROW}\r\n'.replace(",", ";"),
        f"sep=,\n{HEADER}\n{ROW}\n",
        f"\n\n{HEADER}\n{ROW}\n",
        f"{HEADER}\n{ROW}\n,,,,,,\n , ,,,,,\n,,,,,,,,,,\n\n",
        f"{HEADER},,\n{ROW},,\n",
        f"{HEADER.replace('age', 'ａｇｅ')}\n{ROW}\n",
        f"{HEADER}\n{ROW}.0\n",
        f"{HEADER}\n{ROW},0\n".replace(",", ";").replace("1;0", "1,0"),
    ],
    ids=["sep", "quoted sep", "sep comma", "empty lines", "empty rows", "unnamed columns",
         "wide letters", "1.0", "1,0"],
)  # fmt: skip
def test_what_spreadsheets_add_is_read(tmp_path: Path, text: str) -> None:
    (patient,) = read_manifest(table(tmp_path, text))
    assert (patient.patient_id, patient.age, int(patient.idh or 0)) == ("p1", 44.0, 1)
    assert not patient.extra


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_read(tmp_path: Path, encoding: str) -> None:
    (patient,) = read_manifest(table(tmp_path, f"{HEADER}\n{ROW}\n".encode(encoding)))
    assert patient.patient_id == "p1"


def test_what_was_read_otherwise_is_told(tmp_path: Path) -> None:
    assert read_table(table(tmp_path, f"{HEADER}\n{ROW}\n")).notes == ()
    text = f"{HEADER.replace('age', 'AGE')}\n{ROW}\n,,,,,,\n".replace(",", ";")
    assert len(read_table(table(tmp_path, text)).notes) == 3


@pytest.mark.parametrize("word", ["Mutant", "WT", "IDH-mut", "yes", "2"])
def test_a_word_for_idh_is_refused_with_what_the_numbers_mean(tmp_path: Path, word: str) -> None:
    path = table(tmp_path, f"{HEADER}\n{ROW[:-1]}{word}\n")
    with pytest.raises(BadInput) as refused:
        parse_patient(read_table(path), 0)
    assert "1 for mutant, 0 for wildtype" in refused.value.remedy


def test_an_unnamed_column_with_values_is_kept(tmp_path: Path) -> None:
    (patient,) = read_manifest(table(tmp_path, f",{HEADER}\n0,{ROW}\n"))
    assert patient.patient_id == "p1" and list(patient.extra.values()) == ["0"]


def test_ids_that_repeat_one_before() -> None:
    seen: dict[str, str] = {}
    assert [bool(repeats(name, seen)) for name in ("p1", "p2", "P1", "00p2", "p3", "p1")] == [
        False, False, True, True, False, True]  # fmt: skip
    assert "'P1'" in repeats("P1", seen) and "'p1'" in repeats("P1", seen)
