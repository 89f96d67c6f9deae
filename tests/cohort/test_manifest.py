"""The manifest: what is read, what is refused and how to mend it, and the way back to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.cohort.manifest import (
    COLUMNS,
    Patient,
    parse_patient,
    read_manifest,
    read_table,
    write_manifest,
)
from components.core.errors import BadInput
from components.core.vocabulary import Idh, Origin, Sex, Split

HEADER = "patient_id,site,t1c,t2,flair,age,idh"


def manifest(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "cohort.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_row_is_read_with_its_paths_made_absolute(tmp_path: Path) -> None:
    header = "patient_id,site,t1c,t2,flair,tumor_mask,age,sex,idh,grade,codeletion,split,scanner"
    row = "a-1,here,a/t1c.nii.gz,s3://bucket/t2.nii.gz,/data/f.nii.gz,,47.5,F,1,2,0,tuning,Siemens"
    (patient,) = read_manifest(manifest(tmp_path, row, header=header))
    assert patient == Patient(
        patient_id="a-1",
        site="here",
        t1c=str(tmp_path.resolve() / "a/t1c.nii.gz"),
        t2="s3://bucket/t2.nii.gz",
        flair="/data/f.nii.gz",
        age=47.5,
        sex=Sex.FEMALE,
        idh=Idh.MUTANT,
        grade=2,
        codeletion=0,
        split=Split.TUNING,
        extra={"scanner": "Siemens"},
    )


@pytest.mark.parametrize("folder", ["", "hospital/", "hospital/2026/"])
def test_paths_in_a_manifest_in_s3_lie_beside_it(s3: Any, tmp_path: Path, folder: str) -> None:
    s3.upload_file(manifest(tmp_path, "a,,t1c.nii.gz,b/t2.nii.gz,,,"), "bucket", f"{folder}c.csv")
    table = read_table(f"s3://bucket/{folder}c.csv")
    assert table.location(0, "t1c") == f"s3://bucket/{folder}t1c.nii.gz"
    assert table.location(0, "t2") == f"s3://bucket/{folder}b/t2.nii.gz"


def test_empty_cells_are_unknown(tmp_path: Path) -> None:
    (patient,) = read_manifest(manifest(tmp_path, "a,,,,,,"))
    assert (patient.age, patient.idh, patient.t1c, patient.origin) == (
        None,
        None,
        None,
        Origin.PATIENTS,
    )


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        ("a,s,x,x,x,abc,1", "age", "'abc'"),
        ("a,s,x,x,x,inf,1", "age", "inf"),
        ("a,s,x,x,x,17,1", "age", "17"),
        ("a,s,x,x,x,640,1", "age", "640"),
        ("a,s,x,x,x,50,2", "idh", "'2'"),
        ("a,s,x,x,x,50,wildtype", "idh", "'wildtype'"),
        ("Müller,s,x,x,x,50,1", "patient_id", "'Müller'"),
        ("../../etc,s,x,x,x,50,1", "patient_id", "'../../etc'"),
        (",s,x,x,x,50,1", "patient_id", "''"),
    ],
)
def test_a_bad_cell_names_row_column_value_and_remedy(
    tmp_path: Path, row: str, column: str, value: str
) -> None:
    path = manifest(tmp_path, "ok,s,x,x,x,50,0", row)
    with pytest.raises(BadInput) as refused:
        read_manifest(path)
    assert refused.value.subject == f"cohort.csv, row 2, column {column}"
    assert value in refused.value.problem
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("header", "problem", "remedy"),
    [
        ("patient_id,site,t1c,flair,idh", "'age' is missing", "add a column 'age'"),
        ("patient_id,site,t1c,fliar,age,idh", "'flair' is missing", "rename column 'fliar'"),
        (f"{HEADER},tumour_mask", "looks like 'tumor_mask'", "rename it to 'tumor_mask'"),
        (f"{HEADER},age", "'age' stands twice", "remove one"),
    ],
)
def test_a_bad_header_is_named(tmp_path: Path, header: str, problem: str, remedy: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_table(manifest(tmp_path, "a" + "," * header.count(","), header=header))
    assert problem in refused.value.problem
    assert remedy in refused.value.remedy


def test_a_byte_order_mark_and_spaces_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes(
        b"\xef\xbb\xbf" + b"patient_id , site,t1c,flair,age,idh\r\na, s ,x,x, 50 ,1\r\n"
    )
    (patient,) = read_manifest(path)
    assert (patient.patient_id, patient.site, patient.age) == ("a", "s", 50.0)


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    one = read_table(manifest(tmp_path, "a,s,x,x,x,50,1")).sha256
    two = read_table(manifest(tmp_path, "a,s,x,x,x,51,1")).sha256
    assert one != two
    assert read_table(manifest(tmp_path, "a,s,x,x,x,50,1")).sha256 == one


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
paths = st.one_of(st.none(), names.map(lambda n: f"/data/{n}.nii.gz"))
patients = st.builds(
    Patient,
    patient_id=names,
    site=names,
    t1c=paths,
    t2=paths,
    flair=paths,
    tumor_mask=paths,
    age=st.one_of(st.none(), st.floats(18, 110)),
    sex=st.one_of(st.none(), st.sampled_from(Sex)),
    idh=st.one_of(st.none(), st.sampled_from(Idh)),
    grade=st.one_of(st.none(), st.sampled_from([2, 3, 4])),
    codeletion=st.one_of(st.none(), st.sampled_from([0, 1])),
    split=st.one_of(st.none(), st.sampled_from(Split)),
    origin=st.sampled_from(Origin),
    extra=st.fixed_dictionaries({"scanner": names}),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(patients, min_size=1, max_size=5))
def test_what_is_written_is_read_again(tmp_path: Path, written: list[Patient]) -> None:
    write_manifest(tmp_path / "m.csv", written)
    assert read_manifest(tmp_path / "m.csv") == written


def test_paths_below_the_manifest_are_written_relative(tmp_path: Path) -> None:
    patient = Patient("a", "s", str(tmp_path / "a" / "t1c.nii.gz"), None, "/elsewhere/f.nii.gz")
    write_manifest(tmp_path / "m.csv", [patient])
    table = read_table(tmp_path / "m.csv")
    assert table.rows[0]["t1c"] == "a/t1c.nii.gz"
    assert table.rows[0]["flair"] == "/elsewhere/f.nii.gz"
    assert table.columns == COLUMNS
    assert parse_patient(table, 0) == patient
