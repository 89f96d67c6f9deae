"""From the segmenter's probability to the classifier's inputs, in training and in serving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from components.core.errors import BadInput
from components.core.imaging.grid import Grid, resample
from components.core.vocabulary import AGE, FEATURE_NAMES, REGIONS, SLICE_OFFSETS, Sequence, Status
from components.features.loci import loci_features
from components.features.normalise import normalise
from components.features.shape import shape_features
from components.features.slices import choose_slices
from components.preprocess.atlas.regions import Atlas
from components.segment.inference.mask import MaskRule


@dataclass(frozen=True)
class StepSpec:
    """What the step needs to know besides the patient.

    Attributes:
        rule: how the tumour probability becomes a mask.
        channels: the two sequences of the image, in channel order.
        clip: see `normalise`.
        atlas: nine regions in MNI152.
    """

    rule: MaskRule
    channels: tuple[Sequence, Sequence]
    clip: float
    atlas: Atlas


@dataclass(frozen=True)
class StepResult:
    """What the classifier gets.

    Attributes:
        status: OK, or NO_TUMOR: then images and features are zero and slices -1, none of which may
            be shown or classified.
        images: float32 (5, 3, y, x): first sequence, second sequence, mask; in [0, 1].
        slices: int64 (5,), 0-based z on the network grid.
        features: float64 (24,) in the order of FEATURE_NAMES; NaN for an unknown age.
        mask_working: bool (z, y, x) on the working grid.
        tumor_ml: tumour volume.
        warnings: sentences a reader of the prediction must see.
    """

    status: Status
    images: np.ndarray
    slices: np.ndarray
    features: np.ndarray
    mask_working: np.ndarray
    tumor_ml: float
    warnings: tuple[str, ...] = ()


def feature_slice_step(
    probability: np.ndarray,
    volumes: Mapping[Sequence, np.ndarray],
    brain: np.ndarray,
    grid: Grid,
    working: Grid,
    to_mni: np.ndarray,
    age: float,
    spec: StepSpec,
) -> StepResult:
    """Mask, slices and features of one patient (method.md: slices, numeric features).

    Args:
        probability: tumour probability (z, y, x) on `grid`.
        volumes: z-scores (z, y, x) on `grid`, at least those of `spec.channels`.
        brain: bool (z, y, x) on `grid`.
        grid, working: network grid and isotropic grid of one box, in the T1C's LPS space.
        to_mni: 4x4 matrix, LPS mm -> LPS mm in MNI152.
        age: years; NaN where unknown.
        spec: see StepSpec.

    Raises:
        BadInput: a sequence is missing, or an input is not finite.
    """
    _check(probability, volumes, to_mni, spec)
    mask = spec.rule.mask(probability, grid, working)
    result = step_from_mask(mask, volumes, brain, grid, working, to_mni, age, spec)
    cut = spec.rule.threshold_for(probability)
    if cut == spec.rule.threshold or result.status is not Status.OK:
        return result
    faint = f"a faint tumour: cut at probability {cut:g} instead of {spec.rule.threshold:g}"
    return replace(result, warnings=(*result.warnings, faint))


def step_from_mask(
    mask: np.ndarray,
    volumes: Mapping[Sequence, np.ndarray],
    brain: np.ndarray,
    grid: Grid,
    working: Grid,
    to_mni: np.ndarray,
    age: float,
    spec: StepSpec,
) -> StepResult:
    """`feature_slice_step` for a tumour mask bool (z, y, x) that is already on `working`."""
    _check(mask, volumes, to_mni, spec)
    if np.count_nonzero(mask) < 2:
        return _no_tumor(grid, mask)
    tumor = mask_on_network(mask, grid, working)
    slices = choose_slices(tumor)
    features = {
        **shape_features(mask, working),
        **loci_features(mask, working, to_mni, spec.atlas),
        AGE: float(age),
    }
    warnings = []
    if slices.moved:
        warnings.append(f"{slices.moved} of the 5 slices moved: the tumour does not reach so far")
    if not any(features[region] for region in REGIONS):
        warnings.append("no part of the tumour lies in a region of the atlas: check the alignment")
    picked = np.array(slices.indices, dtype=np.int64)
    channels = [normalise(volumes[s], brain, tumor, spec.clip) for s in spec.channels]
    images = np.stack([*(c[picked] for c in channels), tumor[picked].astype(np.float32)], axis=1)
    return StepResult(
        status=Status.OK,
        images=images,
        slices=picked,
        features=np.array([features[name] for name in FEATURE_NAMES]),
        mask_working=mask,
        tumor_ml=float(np.count_nonzero(mask)) * working.voxel_ml,
        warnings=tuple(warnings),
    )


def mask_on_network(mask: np.ndarray, grid: Grid, working: Grid) -> np.ndarray:
    """Take a mask from `working` to `grid`; a non-empty mask never becomes empty."""
    share = resample(mask.astype(np.float32), working, grid)
    coarse = share >= 0.5
    if coarse.any():
        return coarse
    chain = np.linalg.inv(grid.affine) @ working.affine
    voxels = np.rint(np.argwhere(mask)[:, ::-1] @ chain[:3, :3].T + chain[:3, 3]).astype(int)
    voxels = np.clip(voxels[:, ::-1], 0, np.array(grid.shape) - 1)
    coarse[tuple(voxels.T)] = True
    return coarse


def _check(
    field: np.ndarray, volumes: Mapping[Sequence, np.ndarray], to_mni: np.ndarray, spec: StepSpec
) -> None:
    for sequence in spec.channels:
        if sequence not in volumes:
            raise BadInput(
                sequence.value, "the image is missing", "give it, or use a profile without it"
            )
    arrays = {"tumour probability": field, "to_mni": to_mni}
    arrays.update({s.value: volumes[s] for s in spec.channels})
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise BadInput(name, "NaN or infinite values", "prepare the patient again")


def _no_tumor(grid: Grid, mask: np.ndarray) -> StepResult:
    _, y, x = grid.shape
    return StepResult(
        status=Status.NO_TUMOR,
        images=np.zeros((len(SLICE_OFFSETS), 3, y, x), dtype=np.float32),
        slices=np.full(len(SLICE_OFFSETS), -1, dtype=np.int64),
        features=np.zeros(len(FEATURE_NAMES)),
        mask_working=np.zeros_like(mask),
        tumor_ml=0.0,
    )
