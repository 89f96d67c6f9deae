"""A hospital's export becomes images without a patient, a manifest, and a table of reasons."""

from __future__ import annotations

import csv
import gzip
import shutil
import stat
from pathlib import Path

import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from components.cohort.dicom.ingest import Ingested, ingest
from components.cohort.images import read_image
from components.cohort.manifest import read_manifest
from components.core.errors import BadInput
from components.core.vocabulary import Sex
from tests.cohort.dicom_writer import (
    FLAIR,
    SECRETS,
    T1,
    T1C,
    T2,
    enhanced,
    phantom,
    save,
    write_series,
)
from tests.cohort.test_dicom_series import same_image


def rows(done: Ingested) -> list[dict[str, str]]:
    with done.chosen.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients: one whole, with series to be passed over; one whose FLAIR lacks a slice."""
    root = tmp_path_factory.mktemp("export") / "dicom"
    one, two = root / "DOE_JANE", root / "other"
    write_series(one / "a", phantom(1), T1C)
    write_series(one / "b", phantom(2), T1)
    write_series(one / "c", phantom(3), T2)
    write_series(one / "d", phantom(4), FLAIR)
    write_series(one / "e", phantom(5, (8, 20, 18)), {**T2, "SeriesNumber": 9})
    (one / "DICOMDIR.txt").write_text("no DICOM")
    write_series(two / "a", phantom(6), T1C, patient="MRN-5")
    write_series(two / "b", phantom(7), FLAIR, lambda i: i[:4] + i[5:], patient="MRN-5")
    return root


@pytest.fixture(scope="module")
def done(export: Path) -> Ingested:
    return ingest(export, export.parent / "out", site="here")


def test_each_patient_has_a_row_with_the_images_written(export: Path, done: Ingested) -> None:
    assert (done.patients, done.complete, done.other_files) == (2, 1, 1)
    one, two = read_manifest(done.manifest)
    assert (one.patient_id, one.site, one.age, one.sex) == ("P0001", "here", 50.0, Sex.FEMALE)
    for path, seed in ((one.t1c, 1), (one.t2, 3), (one.flair, 4), (two.t1c, 6)):
        assert path is not None
        assert same_image(read_image(path), phantom(seed))
    assert (two.t2, two.flair, two.idh) == (None, None, None)


def test_every_series_is_in_the_table_with_its_reason(done: Ingested) -> None:
    table = {(row["patient_id"], row["series"]): row for row in rows(done)}
    assert len(table) == 7
    assert all(row["reason"] for row in table.values())
    chosen = {key for key, row in table.items() if row["chosen"] == "yes"}
    assert chosen == {("P0001", "7"), ("P0001", "4"), ("P0001", "5"), ("P0002", "7")}
    assert "series 4 was preferred" in table["P0001", "9"]["reason"]
    assert "without contrast agent" in table["P0001", "3"]["reason"]
    assert "1 slices are missing" in table["P0002", "5"]["reason"]
    assert "whole series" in table["P0002", "5"]["remedy"]
    assert table["P0001", "7"]["words"] == "t1 se km"


def test_no_trace_of_a_patient_is_left(done: Ingested) -> None:
    secrets = [*SECRETS.values(), "Doe", "Jane", "MRN", "20200301", "DOE_JANE", "Siemens"]
    out = done.manifest.parent
    files = [file for file in out.rglob("*") if file.is_file()]
    assert len(files) >= 6
    for file in files:
        assert not any(secret in str(file.relative_to(out)) for secret in secrets)
        if file.suffix == ".gz":
            assert file.read_bytes()[3] == 0, "a gzip header with a file name"
            content = gzip.decompress(file.read_bytes())[:352]
            image = sitk.ImageFileReader()
            image.SetFileName(str(file))
            image.ReadImageInformation()
            told = [image.GetMetaData(key) for key in image.GetMetaDataKeys()]
            content += "".join(told).encode()
        else:
            content = file.read_bytes()
        for secret in secrets:
            assert secret.lower().encode() not in content.lower(), (file, secret)


def test_nothing_of_a_patient_is_printed(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    caplog.set_level("DEBUG")
    root = tmp_path / "DOE_JANE"
    write_series(root / "a", phantom(1), T2)
    for file in write_series(root / "b", phantom(2), FLAIR, lambda i: i[:4] + i[5:]).iterdir():
        # A value that breaks the rules for numbers, as a name in the wrong place would.
        file.write_bytes(file.read_bytes().replace(b"IS\x02\x005 ", b"IS\x02\x00DJ"))
    (root / "Doe.txt").write_text("no DICOM")
    ingest(root, tmp_path / "out")
    told = capfd.readouterr()
    lines = [told.out, told.err, caplog.text, *(str(warning.message) for warning in recwarn)]
    for secret in [*SECRETS.values(), "Doe", "DOE_JANE", "MRN", "'DJ'"]:
        assert not any(secret in line for line in lines), secret


def test_a_damaged_header_costs_its_series_and_nothing_else(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom" / "a", phantom(1), T1C)
    other = sorted(write_series(tmp_path / "dicom" / "b", phantom(2), T2).iterdir())
    for file, (old, new) in zip(
        other[3:5],
        [(b"IS\x02\x00", b"Q?\x02\x00"), (b"1.2.840.10008.1.2.1\0", b"1.2.840.x" * 2 + b"xx")],
        strict=True,
    ):
        assert old in file.read_bytes()
        file.write_bytes(file.read_bytes().replace(old, new))
    done = ingest(tmp_path / "dicom", tmp_path / "out")
    (patient,) = read_manifest(done.manifest)
    assert patient.t1c and not patient.t2
    assert "refused" in next(row for row in rows(done) if row["sequence"] == "t2")["reason"]


def test_who_is_who_is_kept_beside_the_output_for_its_owner_alone(done: Ingested) -> None:
    assert done.identities is not None
    assert done.manifest.parent not in done.identities.parents
    assert stat.S_IMODE(done.identities.stat().st_mode) == 0o600
    assert done.identities.read_text() == "patient_id,PatientID\nP0001,MRN-4711\nP0002,MRN-5\n"


def test_a_new_patient_changes_nobodys_name_and_finished_images_stay(
    export: Path, done: Ingested, tmp_path: Path
) -> None:
    out, more = tmp_path / "out", tmp_path / "dicom"
    shutil.copytree(export, more)
    first = ingest(more, out)
    image = out / "P0001" / "t1c.nii.gz"
    stamp = image.stat().st_mtime_ns
    write_series(more / "new" / "a", phantom(8), T2, patient="AAA")
    second = ingest(more, out)
    assert (first.patients, second.patients) == (2, 3)
    assert "P0003,AAA" in (second.identities or Path()).read_text()
    assert image.stat().st_mtime_ns == stamp


def test_same_export_same_bytes(export: Path, done: Ingested, tmp_path: Path) -> None:
    again = ingest(export, tmp_path / "out", site="here")
    for name in ("manifest.csv", "series.csv", "P0001/t1c.nii.gz"):
        assert (again.manifest.parent / name).read_bytes() == (
            done.manifest.parent / name
        ).read_bytes()


def test_pseudonyms_may_be_kept(export: Path, tmp_path: Path) -> None:
    kept = ingest(export, tmp_path / "out", keep_ids=True)
    assert [p.patient_id for p in read_manifest(kept.manifest)] == ["MRN-4711", "MRN-5"]
    assert kept.identities is None
    write_series(tmp_path / "bad", phantom(), T2, patient="Doe/Jane")
    with pytest.raises(BadInput, match="--keep-ids") as refused:
        ingest(tmp_path / "bad", tmp_path / "out2", keep_ids=True)
    assert "Doe" not in str(refused.value)


def test_the_first_study_with_all_sequences_is_taken(tmp_path: Path) -> None:
    def dated(date: str, study: str, *series: dict[str, object]) -> None:
        def change(items: list[Dataset]) -> list[Dataset]:
            for item in items:
                item.StudyDate = date
            return items

        for number, tags in enumerate(series):
            folder = tmp_path / "dicom" / study / str(number)
            write_series(folder, phantom(number), tags, change, study=study)

    dated("20190101", "early", T1C, T2)
    dated("20190601", "whole", T1C, T2, FLAIR)
    dated("20200101", "late", T1C, T2, FLAIR)
    done = ingest(tmp_path / "dicom", tmp_path / "out")
    assert {(r["study"], r["sequence"]) for r in rows(done) if r["chosen"]} == {
        ("2", "t1c"),
        ("2", "t2"),
        ("2", "flair"),
    }
    assert any("study 2 was taken" in row["reason"] for row in rows(done))


def test_two_echoes_of_one_series_are_judged_apart(tmp_path: Path) -> None:
    long = write_series(tmp_path / "dicom" / "a", phantom(1), T2)

    def same_series(items: list[Dataset]) -> list[Dataset]:
        from pydicom import dcmread

        uid = dcmread(next(long.iterdir())).SeriesInstanceUID
        for item in items:
            item.SeriesInstanceUID = uid
        return items

    write_series(tmp_path / "dicom" / "b", phantom(2), {**T2, "TE": 15.0}, same_series)
    done = ingest(tmp_path / "dicom", tmp_path / "out")
    (patient,) = read_manifest(done.manifest)
    assert same_image(read_image(str(patient.t2)), phantom(1))
    assert [(row["te_ms"], row["chosen"]) for row in rows(done)] == [("15", ""), ("100", "yes")]


def test_a_broken_series_gives_way_to_a_whole_one(tmp_path: Path) -> None:
    root = tmp_path / "dicom"
    write_series(root / "a", phantom(1, (14, 20, 18)), T2, lambda items: items[:5] + items[6:])
    write_series(root / "b", phantom(2), {**T2, "SeriesNumber": 8})
    done = ingest(root, tmp_path / "out")
    assert [(r["series"], r["chosen"]) for r in rows(done)] == [("4", ""), ("8", "yes")]
    assert "refused" in rows(done)[0]["reason"]


def test_enhanced_objects_are_taken_in(tmp_path: Path) -> None:
    root = tmp_path / "dicom"
    for index, tags in enumerate((T1C, T2, FLAIR)):
        save(root / str(index), [enhanced(phantom(index), tags)])
    done = ingest(root, tmp_path / "out")
    (patient,) = read_manifest(done.manifest)
    assert same_image(read_image(str(patient.t1c)), phantom(0))
    assert same_image(read_image(str(patient.flair)), phantom(2))
    assert [row["images"] for row in rows(done)] == ["12", "12", "12"]
    told = (done.manifest.read_text() + done.chosen.read_text()).lower()
    written = b"".join(gzip.decompress(f.read_bytes()) for f in done.manifest.parent.rglob("*.gz"))
    assert not any(word.lower() in told for word in ("Doe", "MRN-4711", "Nowhere"))
    assert b"Doe" not in written and b"2020" not in written


@pytest.mark.parametrize("case", ["gone", "empty"])
def test_no_export_is_refused(tmp_path: Path, case: str) -> None:
    if case == "empty":
        (tmp_path / case).mkdir()
        (tmp_path / case / "notes.txt").write_text("nothing")
    with pytest.raises(BadInput, match="DICOM export"):
        ingest(tmp_path / case, tmp_path / "out")
