"""Public releases: their real tables give the counts they hold, their folders the right files."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from components.cohort.manifest import Patient, read_manifest
from components.cohort.public_datasets.adapt import adapt
from components.cohort.public_datasets.terms import IDH_WORDS, age_in_years, translate
from components.core.errors import BadInput
from components.core.vocabulary import Idh, Sex

TABLES = {
    "ucsf-pdgm": "UCSF-PDGM-metadata_v2.csv",
    "upenn-gbm": "UPENN-GBM_clinical_info_v1.0.csv",
    "tcga": "TCGA_GBM_LGG_Mutations_all.csv",
}


def cells(path: Path) -> list[dict[str, str]]:
    """Rows as text: some patients in the real tables are under 18, which strict reading refuses."""
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def counts(path: Path) -> Counter[str]:
    """mutant, wildtype and unknown, told from the raw table without the code under test."""
    found: Counter[str] = Counter()
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream):
            told = " ".join(row.get(name, "") for name in ("IDH", "IDH1", "IDH2")).lower()
            told = told.replace("not_mutated", "wildtype")
            if "p." in told or "mutated" in told:
                found["mutant"] += 1
            elif "wildtype" in told:
                found["wildtype"] += 1
            else:
                found["unknown"] += 1
    return found


WORDS = {"1": "mutant", "0": "wildtype", "": "unknown"}


@pytest.mark.real_data
@pytest.mark.parametrize("release", TABLES)
def test_counts_are_those_of_the_real_table(data_dir: Path, tmp_path: Path, release: str) -> None:
    table = data_dir / "tables" / TABLES[release]
    done = adapt(release, tmp_path, [table], tmp_path / "m.csv")
    patients = cells(tmp_path / "m.csv")
    found = Counter(WORDS[patient["idh"]] for patient in patients)
    assert (done.mutant, done.wildtype) == (found["mutant"], found["wildtype"])
    if done.left_out:
        found += Counter(WORDS[row["idh"]] for row in cells(done.left_out))
    assert found == counts(table)
    assert len({patient["patient_id"] for patient in patients}) == len(patients)


@pytest.mark.real_data
def test_what_the_real_tables_say_is_read(data_dir: Path, tmp_path: Path) -> None:
    expected = {
        "ucsf-pdgm": (501, 103, 398, 0),
        "upenn-gbm": (611, 16, 499, 60),
        "tcga": (862, 437, 425, 0),
    }
    for release, numbers in expected.items():
        table = data_dir / "tables" / TABLES[release]
        done = adapt(release, tmp_path, [table], tmp_path / f"{release}.csv")
        assert (done.patients, done.mutant, done.wildtype, done.left_out_rows) == numbers
    ucsf = {row["patient_id"]: row for row in cells(tmp_path / "ucsf-pdgm.csv")}
    first = ucsf["UCSF-PDGM-0004"]
    assert (first["age"], first["sex"], first["grade"], first["idh"]) == ("66.0", "M", "4", "0")
    tcga = {row["patient_id"]: row for row in cells(tmp_path / "tcga.csv")}
    assert tcga["TCGA-DU-8164"]["age"] == "51.3"
    assert tcga["TCGA-DU-8164"]["site"] == "TCGA-DU"
    assert Counter(row["grade"] for row in tcga.values()) == {"": 499, "4": 363}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def images(patient: Patient, root: Path) -> tuple[str, ...]:
    paths = (patient.t1c, patient.t2, patient.flair, patient.tumor_mask)
    return tuple(str(Path(p).relative_to(root)) if p else "" for p in paths)


def test_ucsf_folders_have_a_digit_more_than_the_table(tmp_path: Path) -> None:
    base = "UCSF-PDGM-v3/UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_"
    kinds = ("T1", "T1_bias", "T1c", "T1c_bias", "T2", "T2_bias", "FLAIR", "FLAIR_bias", "SWI")
    touch(tmp_path, *(f"{base}{k}.nii.gz" for k in (*kinds, "tumor_segmentation")))
    touch(tmp_path, "UCSF-PDGM-v3/UCSF-PDGM-0004_FU003d_nifti/UCSF-PDGM-0004_FU003d_T1c.nii.gz")
    table = write(
        tmp_path / "t.csv",
        "ID,Sex,Age at MRI,WHO CNS Grade,1p/19q,IDH",
        "UCSF-PDGM-004,M,66,4,,wildtype",
        "UCSF-PDGM-004_FU003d,M,66,4,,wildtype",
        "UCSF-PDGM-005,F,40,2,Co-deletion,IDH1 p.R132H",
    )
    done = adapt("ucsf-pdgm", tmp_path, [table], tmp_path / "m.csv")
    one, two = read_manifest(tmp_path / "m.csv")
    names = ("T1c", "T2", "FLAIR", "tumor_segmentation")
    assert images(one, tmp_path) == tuple(f"{base}{name}.nii.gz" for name in names)
    assert (two.patient_id, two.idh, two.codeletion, two.t1c) == (
        "UCSF-PDGM-0005",
        Idh.MUTANT,
        1,
        None,
    )
    assert done.with_images == 1
    assert done.left_out is not None
    assert "UCSF-PDGM-004_FU003d,0,a follow-up scan" in done.left_out.read_text()


def test_upenn_takes_the_scan_before_surgery(tmp_path: Path) -> None:
    base = "NIfTI-files/images_structural"
    for scan in ("UPENN-GBM-00001_11", "UPENN-GBM-00001_21"):
        touch(
            tmp_path,
            *(f"{base}/{scan}/{scan}_{k}.nii.gz" for k in ("T1", "T1GD", "T2", "FLAIR")),
            f"NIfTI-files/automated_segm/{scan}_automated_approx_segm.nii.gz",
        )
    touch(tmp_path, "NIfTI-files/images_segm/UPENN-GBM-00001_11_segm.nii.gz")
    table = write(
        tmp_path / "t.csv",
        "ID,Gender,Age_at_scan_years,IDH1",
        "UPENN-GBM-00001_11,F,52.16,Mutated",
        "UPENN-GBM-00001_21,F,53.0,NOS/NEC",
    )
    adapt("upenn-gbm", tmp_path, [table], tmp_path / "m.csv")
    (one,) = read_manifest(tmp_path / "m.csv")
    assert (one.patient_id, one.idh, one.grade) == ("UPENN-GBM-00001", Idh.MUTANT, 4)
    assert "T1GD" in images(one, tmp_path)[0]
    assert images(one, tmp_path)[3] == "NIfTI-files/images_segm/UPENN-GBM-00001_11_segm.nii.gz"


def test_tcga_prefers_corrected_masks_and_either_gene_counts(tmp_path: Path) -> None:
    base = "Pre-operative_TCGA_LGG_NIfTI_and_Segmentations/TCGA-CS-4941/TCGA-CS-4941_1999.10.02_"
    kinds = ("t1", "t1Gd", "t2", "flair", "GlistrBoost", "GlistrBoost_ManuallyCorrected")
    touch(tmp_path, *(f"{base}{kind}.nii.gz" for kind in kinds))
    table = write(
        tmp_path / "t.csv",
        "Grade,Case_ID,Gender,Age_at_diagnosis,IDH1,IDH2",
        "LGG,TCGA-CS-4941,Male,67 years 0 days,NOT_MUTATED,MUTATED",
        "GBM,TCGA-02-0003,--,--,NOT_MUTATED,",
    )
    adapt("tcga", tmp_path, [table], tmp_path / "m.csv")
    one, two = read_manifest(tmp_path / "m.csv")
    kept = ("t1Gd", "t2", "flair", "GlistrBoost_ManuallyCorrected")
    assert images(one, tmp_path) == tuple(f"{base}{kind}.nii.gz" for kind in kept)
    assert (one.idh, one.grade, one.sex, one.age) == (Idh.MUTANT, None, Sex.MALE, 67.0)
    assert (two.idh, two.grade, two.sex, two.age) == (None, 4, None, None)


@pytest.mark.parametrize("layout", ["SUBJECTS/{0}/{1}", "MR_{0}/{2}_{1}/NIFTI/{1}"])
def test_erasmus_joins_two_tables_in_either_layout(tmp_path: Path, layout: str) -> None:
    for number, kind in enumerate(("T1", "T1GD", "T2", "FLAIR", "MASK"), start=1):
        touch(tmp_path, layout.format("EGD-0001", kind, number) + ".nii.gz")
    genes = write(
        tmp_path / "g.csv", "Subject,IDH,1p19q,Grade", "EGD-0001,1,0,3", "EGD-0002,-1,-1,-1"
    )
    clinic = write(tmp_path / "c.csv", "Subject,Age,Sex", "EGD-0001,44,F", "EGD-0002,60,M")
    adapt("egd", tmp_path, [genes, clinic], tmp_path / "m.csv")
    one, two = read_manifest(tmp_path / "m.csv")
    assert (one.idh, one.codeletion, one.grade, one.age, one.sex) == (1, 0, 3, 44.0, Sex.FEMALE)
    assert [Path(name).name for name in images(one, tmp_path)] == [
        "T1GD.nii.gz",
        "T2.nii.gz",
        "FLAIR.nii.gz",
        "MASK.nii.gz",
    ]
    assert (two.idh, two.codeletion, two.grade, two.t1c) == (None, None, None, None)


@pytest.mark.parametrize("word", ["maybe", "IDH1", "R132H?", "mutated?"])
def test_a_word_that_nobody_mapped_is_refused_not_guessed(word: str) -> None:
    with pytest.raises(BadInput, match="not a word"):
        translate("row 1", word, IDH_WORDS)


@pytest.mark.parametrize(
    ("text", "years"),
    [("44 years 226 days", 44.62), ("67 years", 67.0), ("52.16", 52.16), ("--", None), ("", None)],
)
def test_ages_are_years(text: str, years: float | None) -> None:
    assert age_in_years("row 1", text) == years


@pytest.mark.parametrize(
    ("release", "content", "said"),
    [
        ("ucsf", "ID,IDH\na,wildtype", "ucsf-pdgm, upenn-gbm, tcga, egd"),
        ("egd", "Name,IDH\na,1", "no column Subject"),
        ("egd", "Subject,Sex\na,F", "no column IDH"),
        ("egd", "Subject,IDH\na,1\na,0", "stands twice"),
        ("egd", "Subject,IDH,Age\na,1,old", "'old' is not an age"),
        ("egd", "Subject,IDH,Grade\na,1,V", "'V' is not a word"),
    ],
)
def test_an_unusable_table_is_named(tmp_path: Path, release: str, content: str, said: str) -> None:
    table = write(tmp_path / "t.csv", content)
    with pytest.raises(BadInput, match=said):
        adapt(release, tmp_path, [table], tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()
