"""A small cohort on disk, and every way in which the tests spoil one of its patients."""

from __future__ import annotations

import copy
import csv
import gzip
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from components.core.vocabulary import Sequence
from components.validate.settings import ValidateSettings

SETTINGS = ValidateSettings(
    sequences=(Sequence.T1C, Sequence.FLAIR), min_development=4, workers=1, require_mask=False
)
SHAPE = (20, 24, 22)


def _volume(seed: int, spacing: float = 6.0) -> sitk.Image:
    rng = np.random.default_rng(seed)
    image = sitk.GetImageFromArray(_framed(rng.integers(1, 900, SHAPE).astype(np.int16)))
    image.SetSpacing((spacing, spacing, spacing))
    return image


def _framed(array: np.ndarray) -> np.ndarray:
    """A head in the air: zeros on every in-plane border."""
    array[:, [0, -1]] = 0
    array[:, :, [0, -1]] = 0
    return array


def _mask(value: int = 1) -> sitk.Image:
    array = np.zeros(SHAPE, np.uint8)
    array[8:13, 8:13, 8:13] = value
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
                    "brain_mask": "",
                    "split": "",
                }
            )

    def copy(self, folder: Path) -> Cohort:
        """The same patients below another folder, to be spoilt there."""
        other = copy.copy(self)
        shutil.copytree(self.folder, folder)
        other.folder, other.rows = folder, [dict(row) for row in self.rows]
        return other

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


def _spacing(*spacing: float) -> Callable[[sitk.Image], sitk.Image]:
    def change(image: sitk.Image) -> sitk.Image:
        image.SetSpacing(spacing)
        return image

    return change


def on_voxels(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[sitk.Image], sitk.Image]:
    """Apply a change of arrays (z, y, x) to an image, whatever it does to their shape."""

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


def _aside(image: sitk.Image) -> sitk.Image:
    image.SetOrigin((20.0, 0.0, 0.0))
    return image


def _soft(array: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).random(array.shape).astype(np.float32) * (array > 0)


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
    "age-two-commas": ("age", "44,5,1", "not a number"),
    "age-months": ("age", "528 months", "not a number"),
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
    "flair-is-t1c": ("flair", "p3_t1c.nii.gz", "the same image as the t1c"),
    "t1c-of-another": ("t1c", "p2_t1c.nii.gz", "same image as patient p2"),
    "mask-is-image": ("tumor_mask", "p3_flair.nii.gz", "different values in a mask"),
}

IMAGES = {
    "t1c-4d": ("t1c", on_voxels(lambda a: np.stack([a, a])), "4-D image"),
    "t1c-2-slices": ("t1c", on_voxels(lambda a: a[:2]), "too thin"),
    "t1c-5-slices": ("t1c", on_voxels(lambda a: a[:5]), "slices"),
    "flair-nan": ("flair", on_voxels(lambda a: np.where(a > 890, np.nan, a)), "NaN or infinite"),
    "flair-infinite": (
        "flair",
        on_voxels(lambda a: np.where(a > 890, np.inf, a)),
        "NaN or infinite",
    ),
    "flair-constant": ("flair", on_voxels(np.zeros_like), "same value"),
    "t1c-spacing-tiny": ("t1c", _spacing(0.01, 0.01, 0.01), "voxel size"),
    "t1c-spacing-huge": ("t1c", _spacing(6.0, 6.0, 30.0), "voxel size"),
    "t1c-small-field": ("t1c", _spacing(1.0, 1.0, 1.0), "field of view"),
    "flair-elsewhere": ("flair", _moved, "covers only"),
    "flair-empty-slices": ("flair", on_voxels(_empty_slices), "slices are empty"),
    "t1c-colour": (
        "t1c",
        lambda i: sitk.Compose([sitk.Cast(i, sitk.sitkUInt8)] * 3),
        "colour image",
    ),
    "mask-empty": ("mask", on_voxels(np.zeros_like), "empty tumour mask"),
    "mask-whole-head": ("mask", on_voxels(np.ones_like), "tumour mask of"),
    "mask-elsewhere": ("mask", _moved, "drawn lies inside"),
    "mask-aside": ("mask", _aside, "of the T1C's size, but 20 mm away"),
    "mask-probability": ("mask", on_voxels(_soft), "probability map"),
    "mask-nan": ("mask", on_voxels(lambda a: np.where(a > 0, np.nan, a)), "NaN or infinite"),
}

COPIES = {
    "flair-is-brighter-t1c": on_voxels(lambda a: a * 2),
    "flair-is-t1c-with-another-header": _spacing(6.0, 5.8, 6.0),
    "flair-is-t1c-turned": lambda image: sitk.DICOMOrient(image, "RAS"),
}
"""What was done to a T1C that was given for the FLAIR."""

BRAINS = {
    "brain-empty": (on_voxels(np.zeros_like), "the given mask is empty"),
    "brain-everywhere": (on_voxels(np.ones_like), "without background"),
    "brain-aside": (_aside, "of the T1C's size, but 20 mm away"),
    "brain-probability": (on_voxels(_soft), "probability map"),
    "brain-elsewhere": (_moved, "drawn lies inside"),
    "brain-missing-file": (None, "no such image"),
}
"""Changes to a mask that is given for the brain; None takes it away."""

FILES = {
    "text": (b"this is not an image", "not a readable image"),
    "empty-file": (b"", "not a readable image"),
    "gzip-of-nothing": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "not a readable image"),
}


def _no_orientation(content: bytes) -> bytes:
    """A NIfTI-1 header (uncompressed) with qform_code and sform_code 0."""
    return content[:252] + bytes(4) + content[256:]


def _header(offset: int, form: str, *values: float) -> Callable[[bytes], bytes]:
    new = struct.pack(f"<{form}", *values)
    return lambda content: content[:offset] + new + content[offset + len(new) :]


def _stale_pixdim(content: bytes) -> bytes:
    """As where a tool wrote the sform alone."""
    return _header(252, "h", 0)(_header(80, "3f", 5.1, 5.1, 5.1)(content))


def _turned_bit(content: bytes) -> bytes:
    packed = bytearray(gzip.compress(content))
    packed[len(packed) // 2] ^= 1
    return bytes(packed)


HEADERS = {
    "t1c-no-orientation": ("t1c", _no_orientation, "which way the patient lies"),
    "flair-metres": ("flair", _header(123, "b", 1), "lengths in metres"),
    "t1c-infinite-sform": ("t1c", _header(280, "f", float("inf")), "not finite"),
    "flair-forms-apart": ("flair", _header(268, "f", 60.0), "qform and sform disagree"),
    "t1c-stale-pixdim": ("t1c", _stale_pixdim, "contradict its sform"),
    "t1c-intercept-nan": ("t1c", _header(112, "ff", 1.0, float("nan")), "scaled by 1 and nan"),
    "flair-complex": ("flair", _header(70, "hh", 32, 64), "complex voxels"),
    "t1c-turned-bit": ("t1c", _turned_bit, "gzip stream"),
    "flair-cut-short": ("flair", lambda content: content[: len(content) // 2], "ends early"),
}
"""Changes to the bytes of an uncompressed file."""


def spoil_patient(cohort: Cohort, case: str, row: int) -> str:
    """Spoil patient `row` in the manner of `case`; returns the reason that must be given."""
    name = f"p{row}"
    if case in CELLS:
        column, value, reason = CELLS[case]
        # In one pass: row 2's own name is row 3's neighbour's.
        renamed = {"p3": name, "p2": f"p{row - 1}"}
        cohort.rows[row][column] = re.sub("p[23]", lambda found: renamed[found.group()], value)
        return reason.replace("p2", f"p{row - 1}")
    if case in IMAGES:
        role, change, reason = IMAGES[case]
        cohort.spoil(f"{name}_{role}.nii.gz", change)
        return reason
    if case in COPIES:
        t1c = sitk.ReadImage(str(cohort.image(f"{name}_t1c.nii.gz")))
        sitk.WriteImage(COPIES[case](t1c), str(cohort.image(f"{name}_flair.nii.gz")))
        return "the same image as the t1c"
    if case in BRAINS:
        cohort.rows[row]["brain_mask"] = f"{name}_brain.nii.gz"
        alteration, reason = BRAINS[case]
        if alteration:
            shutil.copy(cohort.image(f"{name}_mask.nii.gz"), cohort.image(f"{name}_brain.nii.gz"))
            cohort.spoil(f"{name}_brain.nii.gz", alteration)
        return reason
    if case in HEADERS:
        role, alter, reason = HEADERS[case]
        plain = cohort.image(f"{name}_{role}.nii")
        sitk.WriteImage(sitk.ReadImage(str(cohort.image(f"{name}_{role}.nii.gz"))), str(plain))
        plain.write_bytes(alter(plain.read_bytes()))
        cohort.rows[row][role] = plain.name
        return reason
    content, reason = FILES[case]
    cohort.image(f"{name}_flair.nii.gz").write_bytes(content)
    return reason


CASES = (*CELLS, *IMAGES, *COPIES, *BRAINS, *FILES, *HEADERS)
