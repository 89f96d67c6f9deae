"""Nobody becomes another: who is who over one export, and over the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from components.cohort.dicom.ingest import ingest
from components.cohort.images import read_image
from components.cohort.manifest import read_manifest
from components.core.errors import BadInput
from tests.cohort.dicom_writer import FLAIR, T1C, phantom, write_series
from tests.cohort.test_dicom_series import same_image

Change = Callable[[list[Dataset]], list[Dataset]]


def person(born: str = "19700203", sex: str = "F", date: str = "20200301") -> Change:
    def change(items: list[Dataset]) -> list[Dataset]:
        for item in items:
            item.PatientBirthDate, item.PatientSex, item.StudyDate = born, sex, date
        return items

    return change


def export(root: Path, who: str, study: str, seed: int, change: Change = list) -> None:
    write_series(root / study / "a", phantom(seed), T1C, change, patient=who, study=study)
    write_series(root / study / "b", phantom(seed + 1), FLAIR, change, patient=who, study=study)


def test_a_second_export_without_ids_replaces_nobody(tmp_path: Path) -> None:
    export(tmp_path / "one", "", "first", 1, person("19800101", "F"))
    export(tmp_path / "two", "", "first other", 3, person("19500101", "M"))
    (tmp_path / "one" / "first").rename(tmp_path / "one" / "x")
    (tmp_path / "two" / "first other").rename(tmp_path / "two" / "x")
    first = read_manifest(ingest(tmp_path / "one", tmp_path / "out").manifest)
    second = read_manifest(ingest(tmp_path / "two", tmp_path / "out").manifest)
    assert [p.patient_id for p in first + second] == ["P0001", "P0002"]
    assert same_image(read_image(tmp_path / "out" / "P0001" / "t1c.nii.gz"), phantom(1))
    assert same_image(read_image(tmp_path / "out" / "P0002" / "t1c.nii.gz"), phantom(3))


@pytest.mark.parametrize("who", ["ANONYMOUS", "", "anon", "0000", "Unknown", "XXX"])
def test_people_under_one_placeholder_are_told_apart(tmp_path: Path, who: str) -> None:
    for number in range(3):
        export(tmp_path / "dicom", who, f"study{number}", 10 * number)
    patients = read_manifest(ingest(tmp_path / "dicom", tmp_path / "out").manifest)
    assert len(patients) == 3
    found = [read_image(str(patient.t1c)) for patient in patients]
    for seed in (0, 10, 20):
        assert sum(same_image(image, phantom(seed)) for image in found) == 1


OTHERS = {
    "birth date": person(born="19510101"),
    "sex": person(sex="M"),
}


@pytest.mark.parametrize("case", ["birth date", "sex"])
def test_one_id_of_two_persons_is_two_patients(tmp_path: Path, case: str) -> None:
    export(tmp_path / "dicom", "MRN-1", "one", 1, person())
    export(tmp_path / "dicom", "MRN-1", "two", 3, OTHERS[case])
    patients = read_manifest(ingest(tmp_path / "dicom", tmp_path / "out").manifest)
    assert len({str(p.t1c) for p in patients}) == len(patients) == 2
    with pytest.raises(BadInput, match="several persons"):
        ingest(tmp_path / "dicom", tmp_path / "kept", keep_ids=True)


@pytest.mark.parametrize("case", ["birth date", "sex"])
def test_an_id_given_to_another_person_later_is_another_patient(tmp_path: Path, case: str) -> None:
    export(tmp_path / "one", "MRN-1", "one", 1, person())
    export(tmp_path / "two", "MRN-1", "two", 3, OTHERS[case])
    (first,) = read_manifest(ingest(tmp_path / "one", tmp_path / "out").manifest)
    (second,) = read_manifest(ingest(tmp_path / "two", tmp_path / "out").manifest)
    assert first.patient_id != second.patient_id
    assert same_image(read_image(str(first.t1c)), phantom(1))


def test_two_studies_of_one_person_are_one_patient(tmp_path: Path) -> None:
    export(tmp_path / "dicom", "MRN-1", "one", 1, person(date="20200301"))
    export(tmp_path / "dicom", "MRN-1", "two", 3, person(date="20230301"))
    assert len(read_manifest(ingest(tmp_path / "dicom", tmp_path / "out").manifest)) == 1


def test_keyed_identifiers_are_alike_in_any_export(tmp_path: Path) -> None:
    export(tmp_path / "one", "MRN-1", "one", 1)
    export(tmp_path / "two", "MRN-0", "two", 3)
    export(tmp_path / "two", "MRN-1", "three", 5)
    names = {}
    keys = (b"secret of sixteen", b"another secret of")
    for key in keys:
        for root in ("one", "two"):
            out = tmp_path / f"{root}-{key.decode()}"
            found = read_manifest(ingest(tmp_path / root, out, key=key).manifest)
            names[root, key] = {patient.patient_id for patient in found}
            table = out.with_name(f"{out.name}-identities.csv").read_text()
            assert "MRN-1" in table
        assert names["one", key] < names["two", key]
    assert not set.intersection(*(names["one", key] for key in keys))


def test_an_id_silent_at_first_is_told_apart_later(tmp_path: Path) -> None:
    export(tmp_path / "one", "77", "first", 1, person("", ""))
    export(tmp_path / "two", "77", "second", 3, person("19500101", "M"))
    export(tmp_path / "three", "77", "third", 5, person("19800101", "M"))
    found = [
        read_manifest(ingest(tmp_path / name, tmp_path / "out").manifest)
        for name in ("one", "two", "three")
    ]
    assert [[p.patient_id for p in patients] for patients in found] == [
        ["P0001"],
        ["P0001"],
        ["P0002"],
    ]


@pytest.mark.parametrize("removed", [1, 2])
def test_an_identifier_is_never_given_again(tmp_path: Path, removed: int) -> None:
    for number, who in enumerate(("a1", "a2")):
        export(tmp_path / "one", who, f"study {who}", 10 * number)
    export(tmp_path / "two", "a9", "study", 30)
    ingest(tmp_path / "one", tmp_path / "out")
    table = tmp_path / "out-identities.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join(row for i, row in enumerate(rows) if i != removed) + "\n")
    found = read_manifest(ingest(tmp_path / "two", tmp_path / "out").manifest)
    assert [patient.patient_id for patient in found] == ["P0003"]


@pytest.mark.parametrize(
    "text",
    ["", "patient_id;PatientID\nP0001;a1\n", "patient_id,PatientID\nP0001,a1\nP0001,a2\n"],
)
def test_a_damaged_table_of_identities_is_refused(tmp_path: Path, text: str) -> None:
    export(tmp_path / "one", "a1", "study", 1)
    (tmp_path / "out-identities.csv").write_text(text)
    with pytest.raises(BadInput) as refused:
        ingest(tmp_path / "one", tmp_path / "out")
    assert refused.value.subject == str(tmp_path / "out-identities.csv")
    assert not (tmp_path / "out").exists()
