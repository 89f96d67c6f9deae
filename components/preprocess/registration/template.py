"""The MNI152 brain to which every T1C is aligned: the one that comes with nilearn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from components.core.files import sha256_file
from components.core.imaging.grid import Grid

_T1 = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


@dataclass(frozen=True)
class Template:
    """MNI152 (ICBM 2009a symmetric), skull-stripped.

    Attributes:
        intensities: T1, float32 (z, y, x), LPS axial, 1 mm; 0 outside the brain.
        inside: uint8 (z, y, x), 1 in the brain, ventricles included.
        grid: of both.
        sha256: of the file it was read from.
    """

    intensities: np.ndarray
    inside: np.ndarray
    grid: Grid
    sha256: str

    @property
    def brain(self) -> sitk.Image:
        """The intensities as an image of the caller's own.

        SimpleITK moves the buffer of an image that a filter of another thread holds, under whoever
        looks at it: threads must not share one.
        """
        return self.grid.image(self.intensities)

    @property
    def mask(self) -> sitk.Image:
        """The mask as an image of the caller's own."""
        return self.grid.image(self.inside)


def package_file(package: str, relative: str) -> Path:
    """A file inside an installed package, found without importing the package.

    Raises:
        FileNotFoundError: the package or the file is not installed.
    """
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / relative
        if path.is_file():
            return path
    raise FileNotFoundError(f"{package}/{relative} is not installed")


@cache
def load_template() -> Template:
    """The MNI152 brain and its mask. Raises FileNotFoundError when nilearn is not installed."""
    path = package_file("nilearn", _T1)
    brain = sitk.DICOMOrient(sitk.ReadImage(str(path), sitk.sitkFloat32), "LPS")
    mask = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(brain > 0, [3, 3, 3]))
    intensities, inside = sitk.GetArrayFromImage(brain), sitk.GetArrayFromImage(mask)
    return Template(intensities, inside, Grid.of(brain), sha256_file(path))
