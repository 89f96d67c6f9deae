"""Damaged DICOM files, manifests and archives: right, or refused in one line; never a traceback."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from components.cohort.images import read_image
from components.cohort.manifest import parse_patient, read_table
from components.core.errors import BadInput
from tests.cohort.dicom_writer import T2, phantom, write_series
from tests.cohort.test_dicom_series import same_image

IMAGE = phantom(shape=(4, 8, 6))
SHARE = st.floats(0.0, 1.0, exclude_max=True)
MANIFEST = (
    b"patient_id,site,t1c,t2,flair,age,sex,idh,grade\n"
    b'p1,"here, there",a.nii,,b.nii,44.5,F,1,3\np2,here,c.nii,,d.nii,51,M,0,2\n'
)


class Files(dict[str, bytes]):
    """Name -> content; told in few words where a test fails."""

    def __repr__(self) -> str:
        return f"{len(self)} files"


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = write_series(tmp_path_factory.mktemp("whole") / "s", IMAGE, T2)
    return Files({file.name: file.read_bytes() for file in folder.iterdir()})


def _turned(content: bytes, place: float, value: int, cut: float) -> bytes:
    changed = bytearray(content)
    changed[int(place * len(changed))] = value
    return bytes(changed[: len(changed) if cut > 0.1 else int(10 * cut * len(changed))])


def _dicom(folder: Path, series: Files, place: float, value: int, cut: float) -> None:
    """One byte of one slice's header is another: what orders and places it is seen in the others.

    A pixel has no second witness, and values of one image alone (its rescaling, its window) are
    what they say.
    """
    folder.mkdir()
    for index, (name, content) in enumerate(sorted(series.items())):
        length = len(content) - 2 * 8 * 6
        spoilt = _turned(content[:length], place, value, cut) if index == 1 else content[:length]
        rest = b"" if index == 1 and cut <= 0.1 else content[length:]
        (folder / name).write_bytes(spoilt + rest)
    try:
        found = read_image(folder)
    except BadInput as error:
        assert "\n" not in str(error)
        return
    voxels = sitk.GetArrayFromImage(sitk.DICOMOrient(found, "LPS"))
    true = sitk.GetArrayFromImage(sitk.DICOMOrient(IMAGE, "LPS"))
    assert (
        same_image(found, IMAGE)
        or sum((a != b).any() for a, b in zip(voxels, true, strict=False)) <= 1
    )


@given(place=SHARE, value=st.integers(0, 255), cut=SHARE)
@settings(max_examples=300)
def test_a_damaged_dicom_header(
    series: Files,
    tmp_path_factory: pytest.TempPathFactory,
    place: float,
    value: int,
    cut: float,
) -> None:
    _dicom(tmp_path_factory.mktemp("f") / "s", series, place, value, cut)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)  # dcm2niix runs for each example.
@given(place=SHARE, value=st.integers(0, 255), cut=SHARE)
@settings(max_examples=20_000)
def test_any_damaged_dicom_header(
    series: Files,
    tmp_path_factory: pytest.TempPathFactory,
    place: float,
    value: int,
    cut: float,
) -> None:
    _dicom(tmp_path_factory.mktemp("f") / "s", series, place, value, cut)


def _manifest(folder: Path, content: bytes) -> None:
    path = folder / "m.csv"
    path.write_bytes(content)
    try:
        table = read_table(path)
    except BadInput as error:
        assert "\n" not in str(error)
        return
    for row in range(len(table.rows)):
        try:
            patient = parse_patient(table, row)
        except BadInput as error:
            assert error.remedy
            continue
        assert patient.age is None or 18 <= patient.age <= 110


CHANGES = st.lists(st.tuples(SHARE, st.binary(max_size=3)), max_size=4)


def _spliced(changes: list[tuple[float, bytes]]) -> bytes:
    content = bytearray(MANIFEST)
    for place, new in changes:
        at = int(place * len(content))
        content[at : at + 1] = new
    return bytes(content)


@given(changes=CHANGES)
@settings(max_examples=300)
def test_a_damaged_manifest(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, bytes]]
) -> None:
    _manifest(tmp_path_factory.getbasetemp(), _spliced(changes))


@pytest.mark.slow
@given(changes=CHANGES)
@settings(max_examples=20_000)
def test_any_damaged_manifest(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, bytes]]
) -> None:
    _manifest(tmp_path_factory.getbasetemp(), _spliced(changes))


STARTS = (
    b"",
    b"PK\x03\x04",
    b"\x08\x00\x05\x00",
    b"\x1f\x8b\x08\x00",
    b"\\\x01\x00\x00",
    bytes(128) + b"DICM",
)


@given(
    content=st.binary(max_size=3000),
    start=st.sampled_from(STARTS),
)
@settings(max_examples=300)
def test_any_bytes_are_no_image(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, start: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.nii.gz"
    path.write_bytes(start + content)
    with pytest.raises(BadInput) as refused:
        read_image(path)
    assert "\n" not in str(refused.value)


def test_an_archive_is_no_image_and_no_manifest(tmp_path: Path) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("m.csv", MANIFEST)
    for name, read in (("a.nii.gz", read_image), ("a.csv", read_table)):
        (tmp_path / name).write_bytes(held.getvalue())
        with pytest.raises(BadInput, match="ZIP"):
            read(tmp_path / name)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "loop", "pipe", "locked"])
def test_odd_paths_are_refused(tmp_path: Path, name: str) -> None:
    import os

    if name == "loop":
        (tmp_path / name).symlink_to(tmp_path / name)
    elif name == "pipe":
        os.mkfifo(tmp_path / name)
    elif name == "locked":
        (tmp_path / name).mkdir()
    with pytest.raises(BadInput) as refused:
        read_image(tmp_path / name)
    assert refused.value.remedy


def test_no_memory_is_taken_for_a_header_s_claim(tmp_path: Path) -> None:
    import nibabel

    header = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)).to_bytes()
    claim = bytearray(header[:352])
    claim[42:48] = np.array([2160, 2160, 2160], "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(claim) + bytes(48))
    with pytest.raises(BadInput, match="voxels"):
        read_image(tmp_path / "a.nii")
