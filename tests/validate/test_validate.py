"""Validation: each bad input quarantines the right patient for the right reason; none is lost."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.cohort.errors import BadInput
from components.cohort.manifest import read_manifest
from components.cohort.vocabulary import Sequence
from components.validate.settings import ValidateSettings
from components.validate.validate import validate_cohorts, validate_manifest

SETTINGS = ValidateSettings(
    sequences=(Sequence.T1C, Sequence.FLAIR), min_development=4, workers=1, require_mask=False
)
SHAPE = (20, 24, 22)


def _volume(seed: int, spacing: float = 6.0) -> sitk.Image:
    rng = np.random.default_rng(seed)
    image = sitk.GetImageFromArray(rng.integers(1, 900, SHAPE).astype(np.int16))
    image.SetSpacing((spacing, spacing, spacing))
    return image


def _mask(value: int = 1) -> sitk.Image:
    array = np.zeros(SHAPE, np.uint8)
    array[8:12, 8:12, 8:12] = value
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((6.0, 6.0, 6.0))
    return image


class Cohort:
    """Eight small patients on disk, ready to be spoilt."""

    def __init__(self, folder: Path, first: int = 0, patients: int = 8) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, str]] = []
        for index in range(first, first + patients):
            name = f"p{index}"
            for role, seed in (("t1c", 2 * index), ("flair", 2 * index + 1)):
                sitk.WriteImage(_volume(seed), str(folder / f"{name}_{role}.nii.gz"))
            sitk.WriteImage(_mask(), str(folder / f"{name}_mask.nii.gz"))
            self.rows.append(
                {
                    "patient_id": name,
                    "site": "a",
                    "t1c": f"{name}_t1c.nii.gz",
                    "t2": "",
                    "flair": f"{name}_flair.nii.gz",
                    "tumor_mask": f"{name}_mask.nii.gz",
                    "age": "50",
                    "sex": "F",
                    "idh": str(index % 2),
                    "grade": "3",
                    "codeletion": "",
                    "split": "",
                }
            )

    def write(self) -> Path:
        path = self.folder / "manifest.csv"
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        return path

    def image(self, name: str) -> Path:
        return self.folder / name

    def spoil(self, name: str, change: Callable[[sitk.Image], sitk.Image]) -> None:
        path = str(self.image(name))
        sitk.WriteImage(change(sitk.ReadImage(path)), path)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return Cohort(tmp_path / "cohort")


def _spacing(*spacing: float) -> Callable[[sitk.Image], sitk.Image]:
    def change(image: sitk.Image) -> sitk.Image:
        image.SetSpacing(spacing)
        return image

    return change


def _array(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[sitk.Image], sitk.Image]:
    def changed(image: sitk.Image) -> sitk.Image:
        result = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)), isVector=False)
        if result.GetDimension() == image.GetDimension() and result.GetSize() == image.GetSize():
            result.CopyInformation(image)
        else:
            result.SetSpacing((*image.GetSpacing(), 1.0)[: result.GetDimension()])
        return result

    return changed


def _moved(image: sitk.Image) -> sitk.Image:
    image.SetOrigin((500.0, 0.0, 0.0))
    return image


def _empty_slices(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[: int(0.7 * len(array))] = 0
    return array


CELLS = {
    "age-word": ("age", "abc", "not a number"),
    "age-child": ("age", "12", "out of range"),
    "age-days": ("age", "18250", "out of range"),
    "age-negative": ("age", "-3", "out of range"),
    "age-empty": ("age", "", "no age"),
    "age-years-days": ("age", "44 years 226 days", "not a number"),
    "age-comma": ("age", "44,5", "not a number"),
    "idh-word": ("idh", "mutant", "not one of"),
    "idh-2": ("idh", "2", "not one of"),
    "sex-word": ("sex", "female", "not one of"),
    "sex-lower": ("sex", "f", "not one of"),
    "grade-roman": ("grade", "III", "not one of"),
    "grade-1": ("grade", "1", "not one of"),
    "codeletion-word": ("codeletion", "yes", "not one of"),
    "split-word": ("split", "train", "not one of"),
    "id-empty": ("patient_id", "", "not a usable identifier"),
    "id-slash": ("patient_id", "a/b", "not a usable identifier"),
    "id-dots": ("patient_id", "../p3", "not a usable identifier"),
    "id-space": ("patient_id", "p 3", "not a usable identifier"),
    "id-long": ("patient_id", "x" * 65, "not a usable identifier"),
    "id-twice": ("patient_id", "p0", "stands twice"),
    "t1c-absent": ("t1c", "", "not in the manifest"),
    "flair-absent": ("flair", "", "not in the manifest"),
    "t1c-missing-file": ("t1c", "nowhere.nii.gz", "no such image"),
    "mask-missing-file": ("tumor_mask", "nowhere.nii.gz", "no such image"),
    "flair-is-t1c": ("flair", "p3_t1c.nii.gz", "very same voxels"),
    "t1c-of-another": ("t1c", "p2_t1c.nii.gz", "same image as patient p2"),
    "mask-is-image": ("tumor_mask", "p3_flair.nii.gz", "different values in a mask"),
}

IMAGES = {
    "t1c-4d": ("t1c", _array(lambda a: np.stack([a, a])), "4-D image"),
    "t1c-2-slices": ("t1c", _array(lambda a: a[:2]), "too thin"),
    "t1c-5-slices": ("t1c", _array(lambda a: a[:5]), "slices"),
    "flair-nan": ("flair", _array(lambda a: np.where(a > 890, np.nan, a)), "NaN or infinite"),
    "flair-infinite": ("flair", _array(lambda a: np.where(a > 890, np.inf, a)), "NaN or infinite"),
    "flair-constant": ("flair", _array(np.zeros_like), "same value"),
    "t1c-spacing-tiny": ("t1c", _spacing(0.01, 0.01, 0.01), "voxel size"),
    "t1c-spacing-huge": ("t1c", _spacing(6.0, 6.0, 30.0), "voxel size"),
    "t1c-small-field": ("t1c", _spacing(1.0, 1.0, 1.0), "field of view"),
    "flair-elsewhere": ("flair", _moved, "covers only"),
    "flair-empty-slices": ("flair", _array(_empty_slices), "slices are empty"),
    "t1c-colour": (
        "t1c",
        lambda i: sitk.Compose([sitk.Cast(i, sitk.sitkUInt8)] * 3),
        "colour image",
    ),
    "mask-empty": ("mask", _array(np.zeros_like), "empty tumour mask"),
    "mask-whole-head": ("mask", _array(np.ones_like), "tumour mask of"),
    "mask-elsewhere": ("mask", _moved, "covers only"),
    "mask-nan": ("mask", _array(lambda a: np.where(a > 0, np.nan, a)), "NaN or infinite"),
}

FILES = {
    "text": (b"this is not an image", "not a readable image"),
    "empty-file": (b"", "not a readable image"),
    "gzip-of-nothing": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "not a readable image"),
}


def _check(cohort: Cohort, out: Path, reason: str, row: int = 3) -> None:
    result = validate_manifest(cohort.write(), SETTINGS, out).report
    assert result["quarantined"] == 1
    assert result["accepted"] == len(cohort.rows) - 1
    ((name, reasons),) = result["reasons"].items()
    assert name in (cohort.rows[row]["patient_id"], f"row {row + 1}")
    assert any(reason in found for found in reasons), reasons
    accepted = {p.patient_id for p in read_manifest(out / "accepted.csv")}
    assert len(accepted) == len(cohort.rows) - 1
    with (out / "quarantine.csv").open() as stream:
        written = list(csv.DictReader(stream))
    assert {line["patient_id"] for line in written} == {name}
    assert all(line["remedy"] for line in written)


@pytest.mark.parametrize("case", CELLS)
def test_a_bad_cell_quarantines_its_patient(cohort: Cohort, tmp_path: Path, case: str) -> None:
    column, value, reason = CELLS[case]
    cohort.rows[3][column] = value
    _check(cohort, tmp_path / "out", reason)


@pytest.mark.parametrize("case", IMAGES)
def test_a_bad_image_quarantines_its_patient(cohort: Cohort, tmp_path: Path, case: str) -> None:
    role, change, reason = IMAGES[case]
    cohort.spoil(f"p3_{role}.nii.gz", change)
    _check(cohort, tmp_path / "out", reason)


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_image_is_named(cohort: Cohort, tmp_path: Path, case: str) -> None:
    content, reason = FILES[case]
    cohort.image("p3_flair.nii.gz").write_bytes(content)
    _check(cohort, tmp_path / "out", reason)


def test_an_empty_dicom_folder_is_named(cohort: Cohort, tmp_path: Path) -> None:
    (cohort.folder / "series").mkdir()
    cohort.rows[3]["t1c"] = "series"
    _check(cohort, tmp_path / "out", "without a DICOM series")


def test_good_patients_are_all_accepted(cohort: Cohort, tmp_path: Path) -> None:
    result = validate_manifest(cohort.write(), SETTINGS, tmp_path / "out").report
    assert (result["patients"], result["accepted"], result["quarantined"]) == (8, 8, 0)
    assert result["warnings"] == {}
    page = (tmp_path / "out" / "validation.html").read_text()
    assert "http://" not in page
    assert "https://" not in page


def test_unknown_idh_is_accepted_with_a_warning(cohort: Cohort, tmp_path: Path) -> None:
    cohort.rows[3]["idh"] = ""
    result = validate_manifest(cohort.write(), SETTINGS, tmp_path / "out").report
    assert result["quarantined"] == 0
    assert "unknown" in result["warnings"]["p3"][0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("flair", "flare", "rename column 'flare' to 'flair'"),
        ("idh", "label", "column 'idh' is missing"),
        ("tumor_mask", "tumour_mask", "rename it to 'tumor_mask'"),
        ("site", "age", "stands twice"),
    ],
)
def test_a_bad_header_stops_with_its_remedy(
    cohort: Cohort, tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = cohort.write()
    header, _, rest = path.read_text().partition("\n")
    columns = [new if name == old else name for name in header.strip().split(",")]
    if new == "age":
        columns.append("site")
    path.write_text(",".join(columns) + "\n" + rest)
    with pytest.raises(BadInput, match=message):
        validate_manifest(path, SETTINGS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_patient_in_two_cohorts_stops_the_run(cohort: Cohort, tmp_path: Path) -> None:
    other = Cohort(tmp_path / "other", first=7, patients=4)
    with pytest.raises(BadInput, match="p7"):
        validate_cohorts(
            {"development": cohort.write(), "new": other.write()}, SETTINGS, tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_one_image_under_two_names_in_two_cohorts_stops(cohort: Cohort, tmp_path: Path) -> None:
    other = Cohort(tmp_path / "other", first=20, patients=4)
    shutil.copy(cohort.image("p1_t1c.nii.gz"), other.image("p21_t1c.nii.gz"))
    with pytest.raises(BadInput, match=r"p1 .* p21 .*same image"):
        validate_cohorts(
            {"development": cohort.write(), "new": other.write()}, SETTINGS, tmp_path / "out"
        )


def test_one_image_in_two_splits_stops(cohort: Cohort, tmp_path: Path) -> None:
    for index, row in enumerate(cohort.rows):
        row["split"] = ("training", "tuning", "internal")[index % 3]
    shutil.copy(cohort.image("p0_flair.nii.gz"), cohort.image("p1_flair.nii.gz"))
    with pytest.raises(BadInput, match="same image under two names"):
        validate_manifest(cohort.write(), SETTINGS, tmp_path / "out")


def test_too_few_patients_stop(cohort: Cohort, tmp_path: Path) -> None:
    few = SETTINGS.model_copy(update={"min_development": 9})
    with pytest.raises(BadInput, match="8 usable patients"):
        validate_cohorts({"development": cohort.write()}, few, tmp_path / "out")


def test_a_half_filled_split_column_stops(cohort: Cohort, tmp_path: Path) -> None:
    cohort.rows[0]["split"] = "training"
    with pytest.raises(BadInput, match="column split"):
        validate_manifest(cohort.write(), SETTINGS, tmp_path / "out")


def test_sets_and_folds_are_written(cohort: Cohort, tmp_path: Path) -> None:
    other = Cohort(tmp_path / "other", first=20, patients=4)
    folds = SETTINGS.model_copy(update={"folds": 2})
    validate_cohorts({"development": cohort.write(), "new": other.write()}, folds, tmp_path / "out")
    patients = read_manifest(tmp_path / "out" / "accepted.csv")
    development = [p for p in patients if p.extra["cohort"] == "development"]
    assert sorted(p.extra["fold"] for p in development) == ["0"] * 4 + ["1"] * 4
    assert {p.extra["subset"] for p in patients} == {"training", "new"}
    for fold in "01":
        labels = sorted(int(p.idh) for p in development if p.extra["fold"] == fold)  # type: ignore[arg-type]
        assert labels == [0, 0, 1, 1]


def test_same_seed_same_files(cohort: Cohort, tmp_path: Path) -> None:
    path = cohort.write()
    for name in ("a", "b"):
        validate_manifest(path, SETTINGS, tmp_path / name)
    assert (tmp_path / "a" / "accepted.csv").read_bytes() == (
        tmp_path / "b" / "accepted.csv"
    ).read_bytes()


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return Cohort(tmp_path_factory.mktemp("standing"))


@given(
    spoils=st.dictionaries(
        st.integers(0, 7), st.sampled_from(sorted(CELLS)), min_size=0, max_size=6
    )
)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nobody_is_ever_lost(
    standing: Cohort, tmp_path_factory: pytest.TempPathFactory, spoils: dict[int, str]
) -> None:
    original = [dict(row) for row in standing.rows]
    out = tmp_path_factory.mktemp("lost") / "out"
    try:
        for row, case in spoils.items():
            column, value, _ = CELLS[case]
            standing.rows[row][column] = value
        report = None
        try:
            report = validate_manifest(standing.write(), SETTINGS, out).report
        except BadInput as error:
            # Some cells concern the whole cohort: then nothing at all is written.
            assert "split" in str(error)
            assert not out.exists()
        if report is not None:
            accepted = read_manifest(out / "accepted.csv")
            assert report["accepted"] + report["quarantined"] == report["patients"] == 8
            assert len(accepted) == report["accepted"]
            assert len(report["reasons"]) == report["quarantined"]
    finally:
        standing.rows = original


@pytest.mark.real_data
def test_the_oddities_of_the_open_cohort_are_found(data_dir: Path, tmp_path: Path) -> None:
    real = ValidateSettings(sequences=(Sequence.T1C, Sequence.FLAIR), folds=5)
    report = validate_manifest(data_dir / "tcga-lgg" / "manifest.csv", real, tmp_path / "o").report
    assert report["patients"] == 60
    without_t1c = {"DU-6407", "DU-7013", "DU-7301", "DU-8165", "FG-7634", "FG-A60K"}
    assert set(report["reasons"]) == {f"TCGA-{name}" for name in without_t1c}
    assert all(r == ["t1c: not in the manifest"] for r in report["reasons"].values())
    warnings = report["warnings"]
    assert "empty" in warnings["TCGA-DU-A5TW"][0]
    assert "unknown" in warnings["TCGA-DU-7014"][0]
