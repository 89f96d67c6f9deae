"""What is read as a mask, and what is refused; one reading on every road."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from components.cohort.image_checks.facts import MASK, patient_facts
from components.cohort.images import write_image
from components.cohort.manifest import Patient
from components.cohort.masks import off_grid_mm, read_mask
from components.core.errors import BadInput
from components.core.imaging.grid import Grid
from components.core.vocabulary import Sequence
from components.features.single_mask import features_of_mask
from components.preprocess.sequences import read_patient

GRID = Grid((30, 32, 20), (40.0, -30.0, 10.0), (5.0, 5.0, 6.0))
DRAWN = np.zeros(GRID.shape, bool)
DRAWN[8:13, 10:16, 12:20] = True
NOISE = np.random.default_rng(0)


def written(path: Path, array: np.ndarray, grid: Grid = GRID) -> Path:
    write_image(path, grid.image(array))
    return path


MASKS: dict[str, np.ndarray] = {
    "0 and 1": DRAWN.astype(np.uint8),
    "0 and 255": DRAWN.astype(np.uint8) * 255,
    "0 and 0.9999": DRAWN.astype(np.float32) * 0.9999,
    "0 and 0.4": DRAWN.astype(np.float32) * 0.4,
    "0 and 1/255": DRAWN.astype(np.float32) / 255,
    "labels 1, 2, 4": (DRAWN * NOISE.choice([1, 2, 4], GRID.shape)).astype(np.int16),
    "labels 1, 2, 3 in double": DRAWN * NOISE.choice([1.0, 2.0001, 2.9999], GRID.shape),
    "labels 10 to 70": (DRAWN * NOISE.choice(range(10, 80, 10), GRID.shape)).astype(np.uint16),
    "bool": DRAWN.astype(np.int8),
}

OTHERS: dict[str, tuple[np.ndarray, str]] = {
    "probability map": (DRAWN * NOISE.random(GRID.shape), "probability map"),
    "soft edge": (np.clip(DRAWN + 0.1 * DRAWN[::-1], 0, 1) * 0.7, "probability map"),
    "image": (NOISE.integers(0, 900, GRID.shape).astype(np.int16), "an image"),
    "image in float": (NOISE.random(GRID.shape) * 900, "an image"),
    "atlas": (NOISE.integers(0, 90, GRID.shape).astype(np.int16), "an image"),
    "z-scores": (NOISE.standard_normal(GRID.shape), "below 0"),
    "signed bytes": (-DRAWN.astype(np.int8), "below 0"),
    "labels without background": (DRAWN.astype(np.uint8) + 1, "without background"),
    "soft edge in bytes": (
        (DRAWN.astype(np.uint8) + np.roll(DRAWN, 1, 0) + np.roll(DRAWN, 1, 1)) * np.uint8(85),
        "grey values",
    ),
    "an edge of half": ((DRAWN + 1.0 * np.roll(DRAWN, 1, 2)) / 2, "probability map"),
    "255 for outside": (np.where(DRAWN, 1, DRAWN[::-1] * 255).astype(np.uint8), "grey values"),
    "logits": (DRAWN * 20.0 - 10.0, "below 0"),
}


@pytest.mark.parametrize("case", MASKS)
def test_what_a_mask_may_be(tmp_path: Path, case: str) -> None:
    found = read_mask(written(tmp_path / "m.nii.gz", MASKS[case]))
    assert np.array_equal(sitk.GetArrayFromImage(found), DRAWN)
    assert found.GetPixelID() == sitk.sitkUInt8


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_no_mask_is_refused_everywhere(tmp_path: Path, case: str) -> None:
    array, said = OTHERS[case]
    path = written(tmp_path / "m.nii.gz", array)
    patient = _patient(tmp_path, path)
    for read in (read_mask, features_of_mask):
        with pytest.raises(BadInput) as refused:
            read(path)  # type: ignore[operator]
        assert said in refused.value.problem
        assert refused.value.remedy
    with pytest.raises(BadInput, match=said):
        read_patient(patient, (Sequence.T1C, Sequence.FLAIR))
    (fact,) = [f for f in patient_facts(patient, (Sequence.T1C,)) if f.role == MASK]
    assert said in fact.error


def _patient(folder: Path, mask: Path, t1c: Grid = GRID, flair: Grid = GRID) -> Patient:
    rng = np.random.default_rng(1)
    paths = {}
    for name, grid in (("t1c", t1c), ("flair", flair)):
        values = rng.integers(50, 900, grid.shape).astype(np.int16)
        paths[name] = str(written(folder / f"{name}.nii.gz", values, grid))
    return Patient("p1", "a", paths["t1c"], None, paths["flair"], str(mask), 50.0)


MOVED = Grid(GRID.size, (0.0, 0.0, 0.0), GRID.spacing)


def test_a_mask_of_the_size_but_elsewhere_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "m.nii.gz", DRAWN.astype(np.uint8), MOVED)
    with pytest.raises(BadInput, match="of the T1C's size, but 51 mm away"):
        read_patient(_patient(tmp_path, path), (Sequence.T1C, Sequence.FLAIR))
    with pytest.raises(BadInput, match="of the T1C's size, but 51 mm away"):
        features_of_mask(path, tmp_path / "t1c.nii.gz")


def test_a_mask_may_lie_on_the_grid_of_the_flair(tmp_path: Path) -> None:
    near = Grid(GRID.size, (40.0, -30.0, 22.0), GRID.spacing)
    path = written(tmp_path / "m.nii.gz", DRAWN.astype(np.uint8), near)
    patient = _patient(tmp_path, path, flair=near)
    assert read_patient(patient, (Sequence.T1C, Sequence.FLAIR)).tumor is not None


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "LIP"])
def test_the_order_of_the_axes_does_not_matter(axes: str) -> None:
    turned = sitk.DICOMOrient(GRID.image(DRAWN.astype(np.uint8)), axes)
    assert off_grid_mm(Grid.of(turned), [GRID]) == 0.0


@given(
    labels=st.lists(st.sampled_from([0, 0, 1, 2, 4, 255, 0.9999, 0.5, 0.3, -1, 17]), min_size=1),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_what_is_accepted_is_what_is_learnt(
    tmp_path_factory: pytest.TempPathFactory, labels: list[float], seed: int
) -> None:
    """Of any odd mask, validation, training and features see the same voxels, or none does."""
    folder = tmp_path_factory.mktemp("odd")
    array = np.random.default_rng(seed).choice(labels, GRID.shape) * DRAWN
    path = written(folder / "m.nii.gz", array.astype(np.float32))
    patient = _patient(folder, path)
    fact = patient_facts(patient, (Sequence.T1C, Sequence.FLAIR))[-1]
    try:
        learnt = read_patient(patient, (Sequence.T1C, Sequence.FLAIR)).tumor
    except BadInput:
        with pytest.raises(BadInput):
            features_of_mask(path)
        assert fact.error or not fact.volume_ml or fact.volume_ml < 0.1
        return
    assert learnt is not None
    count = int(sitk.GetArrayViewFromImage(learnt).sum())
    assert count == (array > 0).sum()
    assert fact.volume_ml == pytest.approx(count * GRID.voxel_ml)
    assert features_of_mask(path)["VoxelVolume"] == pytest.approx(count * 150.0, rel=0.2)


def test_a_mask_of_ones_alone_is_refused_on_every_road(tmp_path: Path) -> None:
    box = Grid.make((6, 6, 6), GRID.origin, GRID.spacing, GRID.direction)
    path = written(tmp_path / "m.nii.gz", np.ones(box.shape, np.uint8), box)
    with pytest.raises(BadInput, match="without background"):
        features_of_mask(path)
    with pytest.raises(BadInput):
        read_patient(_patient(tmp_path, path), (Sequence.T1C, Sequence.FLAIR))
