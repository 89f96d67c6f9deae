"""Reading images: geometry kept, and whatever is no usable volume refused by name."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from components.cohort.images import read_image, write_image
from components.core.errors import BadInput


def volume(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(dtype) * 100


def saved(path: Path, array: np.ndarray) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.6, 5.0))
    image.SetOrigin((-10.0, 20.0, 30.0))
    image.SetDirection((-1, 0, 0, 0, 0, 1, 0, 1, 0))
    sitk.WriteImage(image, str(path))
    return path


def test_geometry_and_values_survive_a_round_trip(tmp_path: Path) -> None:
    first = read_image(saved(tmp_path / "a.nii.gz", volume(8, 9, 10)))
    write_image(tmp_path / "b.nii.gz", first)
    second = read_image(tmp_path / "b.nii.gz")
    assert np.array_equal(sitk.GetArrayViewFromImage(first), sitk.GetArrayViewFromImage(second))
    assert first.GetSize() == (10, 9, 8)
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(first, name)() == pytest.approx(getattr(second, name)(), abs=1e-5)


def test_integers_become_float32(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii.gz", volume(8, 9, 10, dtype=np.int16))
    assert read_image(path).GetPixelID() == sitk.sitkFloat32


def test_a_trailing_axis_of_one_is_dropped(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(volume(8, 9, 10, 1), np.eye(4))
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert read_image(tmp_path / "a.nii.gz").GetDimension() == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_voxel_that_is_no_number_is_refused(tmp_path: Path, bad: float) -> None:
    """ITK's own NIfTI reader turns such voxels into zeros without a word."""
    array = volume(8, 9, 10)
    array[4, 4, 4] = bad
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(BadInput, match="NaN or infinite"):
        read_image(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_file_cut_short_is_refused(tmp_path: Path, suffix: str, dtype: type) -> None:
    """ITK's own reader fills the missing half with zeros without a word."""
    path = saved(tmp_path / f"a{suffix}", volume(20, 30, 30, dtype=dtype))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match="not a readable image"):
        read_image(path)


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(volume(8, 9, 10, 3), np.eye(4)), tmp_path / "4d.nii.gz")
    saved(tmp_path / "thin.nii.gz", volume(2, 9, 10))
    (tmp_path / "text.nii.gz").write_text("no image")
    whole = saved(tmp_path / "whole.nii.gz", volume(8, 9, 10)).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder").mkdir()
    colour = sitk.GetImageFromArray(volume(8, 9, 10, 3), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / "colour.nii.gz"))
    for name, said in {
        "gone.nii.gz": "no such image",
        "4d.nii.gz": "4-D image",
        "thin.nii.gz": "too thin",
        "text.nii.gz": "not a readable image",
        "cut.nii.gz": "not a readable image",
        "folder": "without a DICOM series",
        "colour.nii.gz": "colour",
    }.items():
        with pytest.raises(BadInput) as refused:
            read_image(tmp_path / name)
        assert name in refused.value.subject
        assert said in refused.value.problem, name
        assert refused.value.remedy
