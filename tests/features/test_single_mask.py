"""`glioflow features`: one mask file, with and without its T1C."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from components.cohort.images import write_image
from components.core.errors import BadInput
from components.core.imaging.grid import Grid
from components.core.vocabulary import FEATURE_NAMES, REGIONS
from components.features.shape import shape_features
from components.features.single_mask import features_of_mask
from tests.features.test_shape import by_pyradiomics, ellipsoid


def write(path: Path, mask: np.ndarray, grid: Grid) -> Path:
    write_image(path, grid.image(mask.astype(np.uint8)))
    return path


def test_a_1mm_mask_has_pyradiomics_values(tmp_path: Path) -> None:
    mask = ellipsoid((9, 12, 15), 0.4, 1)
    # As most NIfTI files lie: x and y run to the right and to the front.
    z, y, x = mask.shape
    grid = Grid((x, y, z), (80.0, 90.0, -40.0), (1.0, 1.0, 1.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    found = features_of_mask(write(tmp_path / "m.nii.gz", mask, grid), age=47.5)
    assert tuple(found) == FEATURE_NAMES
    for name, value in by_pyradiomics(mask, grid).items():
        assert found[name] == pytest.approx(value, rel=1e-6), name
    assert all(found[region] is None for region in REGIONS)
    assert found["age"] == 47.5


def test_thick_slices_are_brought_to_1mm(tmp_path: Path) -> None:
    fine = ellipsoid((12, 14, 16), 0.0, 0)
    grid = Grid((48, 44, 40), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    thick = sitk.Resample(
        sitk.Cast(grid.image(fine.astype(np.float32)), sitk.sitkFloat32),
        [48, 44, 8], sitk.Transform(), sitk.sitkLinear, (0.0, 0.0, 2.0), (1.0, 1.0, 5.0),
    )  # fmt: skip
    found = features_of_mask(
        write(tmp_path / "m.nii.gz", sitk.GetArrayFromImage(thick) > 0.5, Grid.of(thick))
    )
    expected = shape_features(fine, grid)
    for name in ("VoxelVolume", "Maximum3DDiameter", "MajorAxisLength"):
        assert found[name] == pytest.approx(expected[name], rel=0.12), name


def test_sagittal_files_are_turned_to_axial(tmp_path: Path) -> None:
    mask = ellipsoid((6, 9, 15), 0.0, 0)
    grid = Grid((48, 44, 40), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    axial = grid.image(mask.astype(np.uint8))
    write_image(tmp_path / "sag.nii.gz", sitk.DICOMOrient(axial, "PIR"))
    found = features_of_mask(tmp_path / "sag.nii.gz")
    expected = shape_features(mask, grid)
    for name in ("Maximum2DDiameterSlice", "Maximum2DDiameterRow", "Flatness"):
        assert found[name] == pytest.approx(expected[name], rel=1e-6), name


def test_refusals(tmp_path: Path) -> None:
    grid = Grid((9, 9, 9), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    empty = write(tmp_path / "empty.nii.gz", np.zeros(grid.shape), grid)
    with pytest.raises(BadInput, match="empty"):
        features_of_mask(empty)
    with pytest.raises(BadInput, match="no such image"):
        features_of_mask(tmp_path / "nothing.nii.gz")
    mask = np.zeros(grid.shape)
    mask[3:6, 3:6, 3:6] = 1
    full = write(tmp_path / "full.nii.gz", mask, grid)
    with pytest.raises(BadInput, match="age"):
        features_of_mask(full, age=7)
    elsewhere = Grid((9, 9, 9), (500.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    t1c = write(tmp_path / "t1c.nii.gz", np.random.default_rng(0).random(grid.shape) * 9, elsewhere)
    with pytest.raises(BadInput, match="lies outside"):
        features_of_mask(full, t1c)


@pytest.mark.real_data
def test_loci_of_a_real_patient(data_dir: Path) -> None:
    folder = data_dir / "tcga-lgg" / "TCGA-DU-5849"
    found = features_of_mask(folder / "tumor_mask.nii.gz", folder / "t1c.nii.gz", 48.36)
    loci = [found[region] for region in REGIONS]
    assert all(value is not None and value >= 0 for value in loci)
    assert 60.0 < sum(value or 0.0 for value in loci) <= 100.0 + 1e-9
