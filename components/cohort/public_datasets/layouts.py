"""How each public release names its examinations, columns and files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetLayout:
    """How one public release names its patients, columns and files.

    Attributes:
        identifier: columns, the first that is there, that name the examination.
        patient: identifier -> (patient_id, why it is left out or "").
        in_path: finds the examination's key in a part of a file's path; its groups joined.
        key: identifier -> the key that `in_path` finds.
        files: sequence or "tumor_mask" -> endings of a file's name without suffix, best first.
        grade_of_all: the grade where the release holds one alone.
    """

    name: str
    identifier: tuple[str, ...]
    idh: tuple[str, ...]
    age: tuple[str, ...]
    sex: tuple[str, ...]
    grade: tuple[str, ...]
    codeletion: tuple[str, ...]
    patient: Callable[[str], tuple[str, str]]
    site: Callable[[str], str]
    in_path: re.Pattern[str]
    key: Callable[[str], str]
    files: Mapping[str, tuple[str, ...]]
    grade_of_all: int | None = None


def _upenn_patient(name: str) -> tuple[str, str]:
    patient, _, time = name.rpartition("_")
    return patient, "" if time == "11" else "a scan after the first surgery"


def _ucsf_patient(name: str) -> tuple[str, str]:
    patient, _, time = name.partition("_")
    return _padded(patient), "a follow-up scan" if time.startswith("FU") else ""


def _padded(name: str) -> str:
    """UCSF-PDGM-004 (the table's) as UCSF-PDGM-0004 (the folders')."""
    stem, _, number = name.rpartition("-")
    return f"{stem}-{int(number):04d}" if number.isdigit() else name


def _same(name: str) -> tuple[str, str]:
    return name, ""


RELEASES: Mapping[str, DatasetLayout] = {
    release.name: release
    for release in (
        DatasetLayout(
            name="ucsf-pdgm",
            identifier=("ID",),
            idh=("IDH",),
            age=("Age at MRI",),
            sex=("Sex",),
            grade=("WHO CNS Grade",),
            codeletion=("1p/19q",),
            patient=_ucsf_patient,
            site=lambda name: "UCSF",
            in_path=re.compile(r"(UCSF-PDGM-\d+(?:_FU\d+d)?)"),
            key=lambda name: "_".join([_padded(name.partition("_")[0]), *name.split("_")[1:]]),
            files={
                "t1c": ("_T1c", "_T1gad", "_T1c_bias"),
                "t2": ("_T2", "_T2_bias"),
                "flair": ("_FLAIR", "_T2FLAIR", "_FLAIR_bias"),
                "tumor_mask": ("_tumor_segmentation",),
            },
        ),
        DatasetLayout(
            name="upenn-gbm",
            identifier=("ID",),
            idh=("IDH1",),
            age=("Age_at_scan_years",),
            sex=("Gender",),
            grade=(),
            codeletion=(),
            patient=_upenn_patient,
            site=lambda name: "UPENN",
            in_path=re.compile(r"(UPENN-GBM-\d+_\d\d)"),
            key=str,
            files={
                "t1c": ("_T1GD",),
                "t2": ("_T2",),
                "flair": ("_FLAIR",),
                "tumor_mask": ("_11_segm", "_automated_approx_segm"),
            },
            grade_of_all=4,
        ),
        DatasetLayout(
            name="tcga",
            identifier=("Case_ID", "patient_id", "Patient"),
            idh=("IDH1", "IDH2"),
            age=("Age_at_diagnosis",),
            sex=("Gender",),
            grade=("Grade",),
            codeletion=(),
            patient=_same,
            site=lambda name: "-".join(name.split("-")[:2]),
            in_path=re.compile(r"(TCGA-\w\w-\w{4})"),
            key=str,
            files={
                "t1c": ("_t1Gd", "_t1ce", "_t1c"),
                "t2": ("_t2",),
                "flair": ("_flair",),
                "tumor_mask": ("_GlistrBoost_ManuallyCorrected", "_GlistrBoost", "_seg"),
            },
        ),
        DatasetLayout(
            name="egd",
            identifier=("Subject", "subject"),
            idh=("IDH", "IDH mutation status"),
            age=("Age",),
            sex=("Sex",),
            grade=("Grade",),
            codeletion=("1p19q", "1p/19q"),
            patient=_same,
            site=lambda name: "Erasmus MC",
            in_path=re.compile(r"(EGD-\d+)"),
            key=str,
            files={
                "t1c": ("T1GD",),
                "t2": ("T2",),
                "flair": ("FLAIR",),
                "tumor_mask": ("MASK",),
            },
        ),
    )
}
