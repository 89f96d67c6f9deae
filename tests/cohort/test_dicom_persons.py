"""Persons told apart by headers alone, over several exports into one folder or many."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from pydicom import dcmread

from components.cohort.dicom.headers import read_instances
from components.cohort.dicom.identity import IdentifiedPatient, Register
from components.cohort.dicom.persons import birth_date, other_person
from components.cohort.image_checks.checks import ImageLimits
from components.cohort.image_checks.facts import patient_facts
from components.cohort.manifest import Patient
from components.core.errors import BadInput
from components.core.vocabulary import Sequence
from components.preprocess.sequences import read_patient
from tests.cohort.dicom_writer import T1C, datasets, phantom, save

KEY, OTHER_KEY = b"secret of sixteen", b"another secret of"
SLICE = phantom(shape=(1, 4, 4))
FLORA = ("19700203", "F")
GUSTAV = ("19510101", "M")
_count = itertools.count()

Study = tuple[str, str, str, str]
"""PatientID, study, birth date, sex."""


def identify(
    out: Path, *studies: Study, key: bytes | None = None, keep_ids: bool = False
) -> list[IdentifiedPatient]:
    """Who an export of one image a study shows."""
    export = out.parent / f"export {next(_count)}"
    for number, (who, study, born, sex) in enumerate(studies):
        letters = {**T1C, "SpecificCharacterSet": "ISO_IR 192"}
        items = datasets(SLICE, letters, patient=who, study=study)
        for item in items:
            item.PatientBirthDate, item.PatientSex = born, sex
        save(export / str(number), items)
    images, others = read_instances(sorted(path for path in export.rglob("IM*")))
    assert not others
    return Register(out, key=key, keep_ids=keep_ids).identify(images)


def names(found: list[IdentifiedPatient]) -> list[str]:
    return [patient.name for patient in found]


def name_of(found: list[IdentifiedPatient], born: str) -> str:
    (patient,) = (p for p in found if {i.born for i in p.images} == {born})
    return patient.name


def test_a_keyed_identifier_depends_on_the_person_alone(tmp_path: Path) -> None:
    alone = identify(tmp_path / "a", ("MRN-1", "1", *FLORA), key=KEY)
    both = identify(tmp_path / "b", ("MRN-1", "2", *GUSTAV), ("MRN-1", "3", *FLORA), key=KEY)
    later = identify(tmp_path / "c", ("MRN-1", "4", *GUSTAV), key=KEY)
    later = identify(tmp_path / "c", ("mrn-1 ", "5", *FLORA), key=KEY) + later
    assert names(alone) == [name_of(both, FLORA[0])] == [name_of(later, FLORA[0])]
    assert name_of(both, GUSTAV[0]) == name_of(later, GUSTAV[0]) != name_of(both, FLORA[0])
    assert any("several persons" in flag for patient in both for flag in patient.flags)


def test_a_keyed_identifier_holds_the_year_of_birth(tmp_path: Path) -> None:
    born = ("1950", "19500612")
    found = [identify(tmp_path / b, ("7", b, b, "F"), key=KEY) for b in born]
    assert names(found[0]) == names(found[1])
    same_year = [("7", "1", "19500101", "F"), ("7", "2", "19500612", "F")]
    assert len(identify(tmp_path / "numbered", *same_year)) == 2
    with pytest.raises(BadInput, match="tell apart"):
        identify(tmp_path / "keyed", *same_year, key=KEY)
    assert not (tmp_path / "keyed-persons.json").exists()


def test_namesakes_keep_their_own_studies(tmp_path: Path) -> None:
    studies = [("7", "1", *FLORA), ("7", "2", *GUSTAV), ("7", "3", *FLORA)]
    first = identify(tmp_path / "out", *studies)
    assert names(first) == ["P0001", "P0002"]
    assert names(identify(tmp_path / "out", *studies)) == ["P0001", "P0002"]
    for study, person in (("4", FLORA), ("5", GUSTAV)):
        later = identify(tmp_path / "out", ("7", study, *person))
        assert names(later) == [name_of(first, person[0])]


def test_sexes_tell_namesakes_apart_where_no_birth_date_is_told(tmp_path: Path) -> None:
    studies = [("7", "1", "", "F"), ("7", "2", "", "M"), ("7", "3", "", "F")]
    both = identify(tmp_path / "b", *studies, key=KEY)
    assert len(both) == 2
    assert names(identify(tmp_path / "a", studies[0], key=KEY))[0] in names(both)
    assert names(identify(tmp_path / "b", *studies, key=KEY)) == names(both)


def test_ages_alone_do_not_tell_whose_a_study_is(tmp_path: Path) -> None:
    def aged(age: str) -> Path:
        items = datasets(SLICE, {**T1C, "PatientAge": age}, patient="7", study=age)
        for item in items:
            item.PatientBirthDate = ""
        return save(tmp_path / "export" / age, items)

    images, _ = read_instances(path for age in ("030Y", "060Y") for path in aged(age).iterdir())
    assert len(Register(tmp_path / "out").identify(images)) == 2
    with pytest.raises(BadInput, match="ages"):
        Register(tmp_path / "keyed", key=KEY).identify(images)


def test_a_study_that_may_be_one_of_two_is_nobodys(tmp_path: Path) -> None:
    found = identify(tmp_path / "out", ("7", "1", *FLORA), ("7", "2", *GUSTAV), ("7", "3", "", ""))
    assert len(found) == 3
    for options in ({"key": KEY}, {"keep_ids": True}):
        with pytest.raises(BadInput, match="several persons"):
            identify(tmp_path / "x", ("7", "1", *FLORA), ("7", "2", *GUSTAV), ("7", "3", "", ""),
                     **options)  # type: ignore[arg-type]  # fmt: skip
    assert not (tmp_path / "x-persons.json").exists()


@pytest.mark.parametrize(
    ("first", "second"), [((KEY, False), (None, False)), ((KEY, False), (OTHER_KEY, False)),
                          ((None, False), (None, True)), ((None, True), (KEY, False))]
)  # fmt: skip
def test_one_folder_is_named_in_one_way(
    tmp_path: Path, first: tuple[bytes | None, bool], second: tuple[bytes | None, bool]
) -> None:
    out = tmp_path / "out"
    identify(out, ("7", "1", *FLORA), key=first[0], keep_ids=first[1])
    kept = (tmp_path / "out-persons.json").read_bytes()
    with pytest.raises(BadInput, match="another way"):
        identify(out, ("8", "2", *FLORA), key=second[0], keep_ids=second[1])
    assert (tmp_path / "out-persons.json").read_bytes() == kept


@pytest.mark.parametrize("file", ["out-persons.json", "out-identities.csv"])
@pytest.mark.parametrize("damage", ["lost", "empty", "cut"])
def test_damaged_knowledge_of_persons_is_refused(tmp_path: Path, file: str, damage: str) -> None:
    out = tmp_path / "out"
    identify(out, ("7", "1", *FLORA))
    (out / "P0001").mkdir(parents=True)
    (out / "P0001" / "t1c.nii.gz").touch()
    path = tmp_path / file
    content = path.read_bytes()
    path.unlink()
    if damage != "lost":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(BadInput) as refused:
        identify(out, ("8", "2", *GUSTAV))
    assert refused.value.subject == str(path)
    assert not path.exists() if damage == "lost" else len(path.read_bytes()) < len(content)


def test_kept_identifiers_are_never_another_persons(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert names(identify(out, ("P7", "1", *FLORA), keep_ids=True)) == ["P7"]
    assert names(identify(out, ("P7", "2", *FLORA), keep_ids=True)) == ["P7"]
    for study in (("P7", "3", *GUSTAV), ("p7", "4", *FLORA), ("ANON", "5", *FLORA)):
        with pytest.raises(BadInput):
            identify(out, study, keep_ids=True)


@pytest.mark.parametrize("other", ["mrn 0012", "MRN0012 ", "  MRN0012", "000MRN0012", "ｍｒｎ0012"])
@pytest.mark.parametrize("later", [False, True])
def test_spellings_of_one_id(tmp_path: Path, other: str, later: bool) -> None:
    def both(out: str, one: tuple[str, str], two: tuple[str, str]) -> list[IdentifiedPatient]:
        studies = [("MRN0012", "1", *one), (other, "2", *two)]
        if not later:
            return identify(tmp_path / out, *studies)
        return identify(tmp_path / out, studies[0]) + identify(tmp_path / out, studies[1])

    assert set(names(both("same", FLORA, FLORA))) == {"P0001"}
    assert set(names(both("others", FLORA, GUSTAV))) == {"P0001", "P0002"}
    if other.strip() != "MRN0012":
        with pytest.raises(BadInput) as refused:
            both("silent", ("", ""), ("", ""))
        assert "MRN0012" in refused.value.problem and other.strip() in refused.value.problem


@pytest.mark.parametrize(
    "who",
    ["Anonymous^Patient", "Pseudonym", "NO NAME", "unbekannt", "inconnu", "999999", "0000", "NaN",
     "匿名", "XXX", "test", "Test Patient", "kein Name", "未入力", "sin nombre", "???", "1234567",
     "tuntematon"],
)  # fmt: skip
@pytest.mark.parametrize("key", [None, KEY])
def test_a_placeholder_merges_nobody(tmp_path: Path, who: str, key: bytes | None) -> None:
    out = tmp_path / "out"
    first = identify(out, (who, "1", "", "F"), (who, "2", "", "F"), key=key)
    second = identify(out, (who, "3", "", "F"), key=key)
    assert len({*names(first), *names(second)}) == 3
    assert names(identify(out, (who, "2", "", "F"), key=key))[0] in names(first)
    assert all("no usable PatientID" in flag for p in first + second for flag in p.flags)


def test_ids_whose_letters_cannot_be_read_merge_nobody(tmp_path: Path) -> None:
    for number, letters in enumerate((b"\xff1", b"\xfe1")):
        items = datasets(SLICE, T1C, patient="ZZ", study=str(number))
        for file in save(tmp_path / "export" / str(number), items).iterdir():
            file.write_bytes(file.read_bytes().replace(b"ZZ", letters))
            item = dcmread(file)
            item.SpecificCharacterSet = "ISO_IR 192"
            item.save_as(file)
    images, _ = read_instances(sorted((tmp_path / "export").rglob("IM*")))
    assert len(Register(tmp_path / "out").identify(images)) == 2


@pytest.mark.parametrize("who", ["P1", "Patient1", "TCGA-FG-6692", "11", "S_003", "sub-0001"])
def test_a_pseudonym_without_a_birth_date_is_one_patient(tmp_path: Path, who: str) -> None:
    studies = [(who, "1", "", "F"), (who, "2", "", "F")]
    assert names(identify(tmp_path / "out", *studies)) == ["P0001"]
    assert names(identify(tmp_path / "kept", *studies, keep_ids=True)) == [who]


def test_words_alone_may_be_a_pseudonym_of_one_study(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert names(identify(out, ("alpha", "1", "", "F"), keep_ids=True)) == ["alpha"]
    with pytest.raises(BadInput):
        identify(out, ("alpha", "2", "", "F"), keep_ids=True)


def test_a_year_of_birth_neither_splits_nor_merges_unsaid(tmp_path: Path) -> None:
    (one,) = identify(tmp_path / "one", ("7", "1", "1950", "F"), ("7", "2", "19500101", "F"))
    assert any("birth dates" in flag for flag in one.flags)
    first = identify(tmp_path / "two", ("7", "1", "1950", "F"))
    second = identify(tmp_path / "two", ("7", "2", "19500612", "F"))
    assert names(first) == names(second)
    assert any("birth dates" in flag for flag in second[0].flags)
    assert len(identify(tmp_path / "three", ("7", "1", "1950", "F"), ("7", "2", "1951", "F"))) == 2


@pytest.mark.parametrize(
    ("text", "date"),
    [("19500131", "19500131"), ("1950.01.31", "19500131"), ("1950-01-31", "19500131"),
     ("31/01/1950", "1950"), ("1950", "1950"), ("19000101", ""), ("00000000", ""), ("", ""),
     ("99999999", ""), ("anonymous", "")],
)  # fmt: skip
def test_a_birth_date_as_written(text: str, date: str) -> None:
    assert birth_date(text) == date


@pytest.mark.parametrize(
    ("who", "born", "said"),
    [("MRN-2", "19700203", "two PatientIDs"), ("MRN-1", "19510101", "2 birth dates"),
     ("mrn-1 ", "19700203", ""), ("ANONYMOUS", "", "")],
)  # fmt: skip
def test_series_of_two_persons_in_one_row(tmp_path: Path, who: str, born: str, said: str) -> None:
    folders = []
    people = (("t1c", "MRN-1", "19700203"), ("flair", who, born))
    for seed, (name, patient, date) in enumerate(people):
        items = datasets(phantom(seed), T1C, patient=patient, study=name)
        for item in items:
            item.PatientBirthDate = date
        folders.append(save(tmp_path / name, items))
    t1c, flair = map(str, folders)
    row = Patient("p", "here", t1c, None, flair)
    sequences = (Sequence.T1C, Sequence.FLAIR)
    (first, second) = patient_facts(row, sequences)
    assert first.error == ""
    assert said in second.error and bool(second.error) is bool(said)
    assert other_person(tmp_path / "t1c" / "none", t1c) == ""
    limits = ImageLimits(field_mm=(50.0, 400.0))
    if not said:
        assert set(read_patient(row, sequences, limits).sequences) == set(sequences)
        return
    with pytest.raises(BadInput, match="several patients"):
        read_patient(row, sequences, limits)
