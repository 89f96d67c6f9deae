"""What the ensemble's models do, as functions: Triton and the in-process answer call the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from components.cohort.manifest import AGE_YEARS
from components.core.errors import BadInput
from components.core.files import read_json, write_arrays, write_json
from components.core.imaging.grid import Grid, working_grid
from components.core.vocabulary import QUANTILES, Sequence
from components.features.feature_slice import StepResult, StepSpec, feature_slice_step
from components.preprocess.atlas.regions import Atlas
from components.release.tensors import (
    Interface,
    Tensor,
)
from components.segment.inference.mask import MaskRule

SPACING_MM = (0.2, 20.0)
"""Voxel sizes of a plausible network grid."""

EXTENT_MM = (30.0, 320.0)
"""Sides of a plausible box around a brain."""

REACH_MM = 3000.0
"""Scanner coordinates lie within this distance of the origin."""

STRETCH = (0.3, 3.0)
"""Volume ratios of a plausible alignment to MNI152."""

MNI_REACH_MM = 120.0
"""How far the middle of a patient's box may land from the middle of MNI152."""

BRAIN_ML = (50.0, 3000.0)
MEAN_Z, SD_Z = 0.5, (0.3, 3.0)
"""z-scores over the brain have mean 0 and SD 1; cropping and rounding move them a little."""

_LOOKED_AT = 100_000
"""About how many of the brain's voxels its quantiles of brightness are taken from."""

Tensors = Mapping[str, np.ndarray]

_AGAIN = "prepare the patient again with the release's plan"


def check_request(tensors: Tensors, interface: Interface, plan_digest: str) -> None:
    """Refuse what must not reach the networks.

    Raises BadInput: its subject is the name of the tensor at fault.
    """
    for tensor in interface.inputs():
        _check_form(tensors, tensor)
    if tensors["plan"].tobytes().hex() != plan_digest:
        raise BadInput("plan", "of another preprocessing plan than this release's", _AGAIN)
    check_age(float(tensors["age"][0]))
    grid = _check_grid(tensors["grid_affine"], interface)
    _check_to_mni(tensors["to_mni"], grid)
    brain = _check_brain(tensors["brain"], grid)
    for sequence in interface.sequences:
        _check_volume(sequence.value, tensors[sequence.value], brain, interface.stripped)


def _check_form(tensors: Tensors, wanted: Tensor) -> None:
    if wanted.name not in tensors:
        raise BadInput(wanted.name, "the tensor is missing", f"send {wanted.meaning}")
    found = tensors[wanted.name]
    if found.dtype != wanted.dtype.numpy:
        raise BadInput(wanted.name, f"type {found.dtype}", f"send {wanted.dtype.value}")
    if found.shape != wanted.shape:
        raise BadInput(wanted.name, f"shape {list(found.shape)}", f"send {list(wanted.shape)}")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise BadInput(wanted.name, "NaN or infinite values", f"send {wanted.meaning}")


def check_age(age: float) -> None:
    """Refuse an age that no manifest would hold. Raises BadInput."""
    low, high = AGE_YEARS
    if not low <= age <= high:
        raise BadInput("age", f"{age:g} is out of range", f"send years, {low:g} to {high:g}")


def _check_grid(affine: np.ndarray, interface: Interface) -> Grid:
    try:
        grid = Grid.from_affine(affine, interface.cube)
    except ValueError as error:
        raise BadInput("grid_affine", str(error), _AGAIN) from None
    spacing = np.array(grid.spacing)
    extent = spacing * interface.grid
    plausible = (
        np.array_equal(affine[3], (0.0, 0.0, 0.0, 1.0))
        and (spacing >= SPACING_MM[0]).all()
        and (spacing <= SPACING_MM[1]).all()
        and (extent >= EXTENT_MM[0]).all()
        and (extent <= EXTENT_MM[1]).all()
        and (np.abs(grid.origin) <= REACH_MM).all()
    )
    if not plausible:
        sides = " x ".join(f"{side:.3g}" for side in extent)
        raise BadInput("grid_affine", f"a box of {sides} mm is no brain's", _AGAIN)
    return grid


def _check_to_mni(matrix: np.ndarray, grid: Grid) -> None:
    stretch = float(np.linalg.det(matrix[:3, :3]))
    middle = grid.affine @ [*((np.array(grid.size) - 1) / 2.0), 1.0]
    landing = float(np.linalg.norm((matrix @ middle)[:3]))
    if not np.array_equal(matrix[3], (0.0, 0.0, 0.0, 1.0)):
        raise BadInput("to_mni", "its last row is not 0 0 0 1", _AGAIN)
    if not STRETCH[0] <= stretch <= STRETCH[1]:
        raise BadInput("to_mni", f"it changes volumes {stretch:.3g}-fold", _AGAIN)
    if not landing <= MNI_REACH_MM:
        raise BadInput("to_mni", f"the brain lands {landing:.0f} mm from MNI152", _AGAIN)


def _check_brain(found: np.ndarray, grid: Grid) -> np.ndarray:
    if found.max() > 1:
        raise BadInput("brain", f"value {found.max()}", "send 1 in the brain, 0 outside")
    volume = int(found.sum(dtype=np.int64)) * grid.voxel_ml
    if not BRAIN_ML[0] <= volume <= BRAIN_ML[1]:
        raise BadInput("brain", f"a brain of {volume:.0f} mL", _AGAIN)
    return found.astype(bool)


def _check_volume(name: str, volume: np.ndarray, brain: np.ndarray, stripped: bool) -> None:
    if stripped and volume[~brain].any():
        raise BadInput(name, "not 0 outside the brain", _AGAIN)
    inside = volume[brain]
    mean, spread = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64))
    if not (abs(mean) <= MEAN_Z and SD_Z[0] <= spread <= SD_Z[1]):
        problem = f"mean {mean:.3g} and SD {spread:.3g} in the brain are no z-scores"
        raise BadInput(name, problem, _AGAIN)


def stack_channels(tensors: Tensors, interface: Interface) -> np.ndarray:
    """The segmenter's input: float32 (channel, z, y, x)."""
    return np.stack([tensors[sequence.value] for sequence in interface.segmenter])


def measure_intensities(tensors: Tensors, interface: Interface) -> np.ndarray:
    """Quantiles of each sequence's z-scores in the brain: float32 (sequence, quantile).

    Mean and SD are 0 and 1 by construction; what another scanner or protocol changes is how the
    values lie between: a contrast agent not given, a fat-suppressed T1, a FLAIR that is a T2.
    """
    inside = np.flatnonzero(tensors["brain"])
    inside = inside[:: max(1, len(inside) // _LOOKED_AT)]
    wanted = list(QUANTILES.values())
    rows = [np.quantile(tensors[s.value].ravel()[inside], wanted) for s in interface.sequences]
    return np.array(rows, dtype=np.float32)


def digest_request(tensors: Tensors, interface: Interface) -> bytes:
    """sha256 over names and bytes of all inputs, in the interface's order."""
    digest = hashlib.sha256()
    for tensor in interface.inputs():
        digest.update(tensor.name.encode())
        digest.update(np.ascontiguousarray(tensors[tensor.name]).data)
    return digest.digest()


@dataclass(frozen=True)
class ServedStep:
    """The feature/slice step as a release holds it.

    Attributes:
        spec: see StepSpec.
        working_mm: spacing of the working grid.
    """

    spec: StepSpec
    working_mm: float

    SPEC_FILE = "step.json"
    ATLAS_FILE = "atlas.npz"

    def write(self, folder: Path) -> None:
        """Write step.json and atlas.npz into `folder`."""
        spec, atlas = self.spec, self.spec.atlas
        content = {
            "rule": asdict(spec.rule),
            "channels": [sequence.value for sequence in spec.channels],
            "clip": spec.clip,
            "working_mm": self.working_mm,
            "atlas": {
                "grid": atlas.grid.to_json(),
                "source": atlas.source,
                "licence": atlas.licence,
                "sha256": atlas.sha256,
            },
        }
        write_json(folder / self.SPEC_FILE, content)
        arrays = {"labels": atlas.labels, "probabilities": atlas.probabilities}
        kept = {name: array for name, array in arrays.items() if array is not None}
        write_arrays(folder / self.ATLAS_FILE, kept)

    @classmethod
    def read(cls, folder: Path) -> ServedStep:
        """Inverse of `write`."""
        content = read_json(folder / cls.SPEC_FILE)
        with np.load(folder / cls.ATLAS_FILE, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        place = content.pop("atlas")
        atlas = Atlas(
            labels=arrays["labels"],
            grid=Grid.from_json(place.pop("grid")),
            probabilities=arrays.get("probabilities"),
            **place,
        )
        first, second = (Sequence(name) for name in content["channels"])
        spec = StepSpec(
            rule=MaskRule(**content["rule"]),
            channels=(first, second),
            clip=content["clip"],
            atlas=atlas,
        )
        return cls(spec, content["working_mm"])

    def run(self, probability: np.ndarray, tensors: Tensors) -> StepResult:
        """Mask, slices and features from the segmenter's probability (z, y, x) and a request's
        tensors.

        Raises BadInput: see `feature_slice_step`.
        """
        grid = Grid.from_affine(tensors["grid_affine"], probability.shape)
        return feature_slice_step(
            probability,
            {s: tensors[s.value] for s in self.spec.channels},
            tensors["brain"].astype(bool),
            grid,
            working_grid(grid, self.working_mm),
            tensors["to_mni"],
            float(tensors["age"][0]),
            self.spec,
        )
