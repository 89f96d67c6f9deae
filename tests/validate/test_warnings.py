"""What is odd but usable is accepted, with a warning that says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from components.validate.validate import validate_manifest
from tests.validate.factories import SETTINGS, Cohort, on_voxels

Change = Callable[[sitk.Image], sitk.Image]


def _air(value: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.where(array == 0, value, array)


def _without(*where: slice) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = _air(20)(array)
        array[where] = 0
        return array

    return change


def _only_slice_8(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[9:] = 0
    return array


def _turned(image: sitk.Image) -> sitk.Image:
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.15, 0.0, 0.0)
    image.SetDirection(turn.GetMatrix())
    return image


def _aside(image: sitk.Image) -> sitk.Image:
    image.SetOrigin((50.0, 0.0, 0.0))
    return image


def _thick(image: sitk.Image) -> sitk.Image:
    thick = on_voxels(lambda array: array.repeat(4, axis=1).repeat(4, axis=2))(image)
    thick.SetSpacing((1.24, 1.24, 10.0))
    return thick


IMAGES: dict[str, tuple[str, Change, str]] = {
    "grey background": ("t1c", on_voxels(_air(150)), "t1c: a grey background"),
    "head cut": ("t1c", on_voxels(_air(500)), "t1c: the head is cut by the field of view"),
    "wedges": (
        "flair",
        on_voxels(_without(slice(None), slice(3), slice(3))),
        "flair: empty wedges",
    ),
    "8 bits": ("flair", on_voxels(lambda a: a // 4), "flair: 256 grey values or fewer"),
    "glare": ("t1c", on_voxels(lambda a: np.where(a > 880, 9000, a)), "times as bright as"),
    "tilted": ("flair", _turned, "flair: tilted by more than 5°"),
    "thick slices": ("flair", _thick, "flair: voxels 8.1 times longer than wide"),
    "slices lost": ("t1c", on_voxels(_without(slice(4))), "t1c: 20% of its slices are empty"),
    "half beside": ("flair", _aside, "flair: covers only 67% of the T1C"),
    "few slices drawn": ("mask", on_voxels(_only_slice_8), "drawn on"),
}

CELLS = {
    "unknown label": ("idh", "", "IDH status unknown"),
    "estimated spacing": ("spacing_source", "estimated", "voxel size estimated"),
    "flagged": ("flags", "motion", "flagged in the manifest: motion"),
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Report on one cohort with a patient for each oddity, and two without any."""
    folder = tmp_path_factory.mktemp("odd")
    cohort = Cohort(folder / "cohort", patients=len(IMAGES) + len(CELLS) + 2)
    for row in cohort.rows:
        row.update(spacing_source="known", flags="")
    for index, (role, change, _) in enumerate(IMAGES.values()):
        cohort.spoil(f"p{index}_{role}.nii.gz", change)
    for index, (column, value, _) in enumerate(CELLS.values(), start=len(IMAGES)):
        cohort.rows[index][column] = value
    return validate_manifest(cohort.write(), SETTINGS, folder / "out").report


def test_nobody_is_refused_for_an_oddity(odd: dict[str, Any]) -> None:
    assert odd["reasons"] == {}
    assert set(odd["warnings"]) == {f"p{index}" for index in range(len(IMAGES) + len(CELLS))}


@pytest.mark.parametrize("case", [*IMAGES, *CELLS])
def test_an_oddity_is_told(odd: dict[str, Any], case: str) -> None:
    said = {**IMAGES, **CELLS}[case][2]
    found = odd["warnings"][f"p{[*IMAGES, *CELLS].index(case)}"]
    assert any(said in warning for warning in found), found


def test_what_another_table_says_otherwise_is_told(tmp_path: Path) -> None:
    cohort = Cohort(tmp_path / "cohort")
    other = cohort.copy(tmp_path / "other")
    other.rows[3].update(idh="0", age="77")
    other.rows[4].update(sex="M", grade="")
    del other.rows[5]
    report = validate_manifest(
        cohort.write(), SETTINGS, tmp_path / "out", against=other.write()
    ).report
    assert report["accepted"] == 8
    assert report["against_sha256"] in (tmp_path / "out" / "validation.html").read_text()
    assert report["warnings"] == {
        "p3": ["idh is 1, but 0 in manifest.csv"],
        "p4": ["sex is F, but M in manifest.csv"],
    }
