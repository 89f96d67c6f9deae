"""Synthetic patients on the network grid: one, and the endless set that a network learns from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch.utils.data import Dataset

from components.cohort.prepared import PreparedCase
from components.core.imaging.grid import Grid, resample, working_grid
from components.core.vocabulary import Origin, Sequence, Split
from components.preprocess.crop import network_grid
from components.preprocess.plan import PreprocessingPlan
from components.segment.data.sampling import Key, Sample, patch_centre
from components.segment.settings import SegmentSettings
from components.synthetic.contrast import (
    TISSUES,
    draw_contrast,
    render_contrast,
    stretched,
)
from components.synthetic.head import SPACING_MM, Head, draw_head, render_head
from components.synthetic.lesions import (
    Lesions,
    centres_of,
    draw_lesions,
    masses_of,
    render_lesions,
)

POOL = 64
"""Patients among which a step chooses."""

STEPS_EACH = 10
"""Steps after which the oldest of them makes room for a new one."""

_AROUND = 6
"""Slices above and below a patch that thick slices reach into."""

LARGEST = 100.0
"""Bound of a z-score, far beyond any tissue."""


@dataclass(frozen=True)
class SyntheticPatient:
    """Anatomy and lesions of one patient; brightness comes with each sample.

    Attributes:
        shares: uint8 [tissue, z, y, x] on `grid` in the order of TISSUES, 255 for all of a voxel.
        detail: float16 [z, y, x], fine structure around 1.
        brain, tumor: bool [z, y, x]; the brain mask has the faults that masks have.
        masks: uint8 [2, z, y, x], brain mask and share of whole tumour, 255 for all of a voxel.
        grid: the network grid.
        mean, square: mean over the brain of each share, and of the product of each two.
    """

    shares: np.ndarray
    detail: np.ndarray
    brain: np.ndarray
    tumor: np.ndarray
    masks: np.ndarray
    grid: Grid
    mean: np.ndarray
    square: np.ndarray


def render_patient(seed: tuple[int, ...], plan: PreprocessingPlan) -> SyntheticPatient:
    """Draw and render one patient; the same for the same seed and plan."""
    rng = np.random.default_rng(seed)
    head_draw, lesion_draw = draw_head(rng), draw_lesions(rng)
    centres = centres_of(lesion_draw, head_draw.scale)
    head = render_head(head_draw, masses_of(lesion_draw, centres))
    lesions = render_lesions(lesion_draw, head, centres)
    mask = _found_brain(rng, head)
    grid = network_grid(head.grid.image(mask.astype(np.uint8)), plan)

    def here(values: np.ndarray) -> np.ndarray:
        return resample(values, head.grid, grid)

    shares = np.stack([_bytes(here(layer)) for layer in _layers(head, lesions)])
    brain, detail = here(mask.astype(np.float32)) > 0.5, here(head.detail)
    whole = here(lesions.whole)
    inside = shares[:, brain].astype(np.float32) / 255.0
    return SyntheticPatient(
        shares=shares,
        detail=np.where(detail > 0.0, detail, 1.0).astype(np.float16),
        brain=brain,
        tumor=whole > 0.5,
        masks=np.stack([_bytes(brain), _bytes(whole)]),
        grid=grid,
        mean=inside.mean(axis=1, dtype=np.float64),
        square=(inside @ inside.T).astype(np.float64) / inside.shape[1],
    )


def _bytes(share: np.ndarray) -> np.ndarray:
    return np.rint(255.0 * share).astype(np.uint8)


def _layers(head: Head, lesions: Lesions) -> list[np.ndarray]:
    """Shares by tissue; lesions take the place of what is under them."""
    above = {
        name: getattr(lesions, name)
        for name in ("vessel", "gliosis", "cavity", "oedema", "solid", "rim", "necrosis")
    }
    free = np.clip(1.0 - sum(above.values()), 0.0, 1.0)
    below = {
        name: getattr(head, name) * free
        for name in ("grey", "white", "csf", "dura", "bone", "scalp")
    }
    return [{**above, **below}[tissue] for tissue in TISSUES]


def _found_brain(rng: np.random.Generator, head: Head) -> np.ndarray:
    """A brain mask as extraction finds it: its border off by millimetres, here and there."""
    outwards = ndimage.distance_transform_edt(~head.brain, sampling=SPACING_MM)
    inwards = ndimage.distance_transform_edt(head.brain, sampling=SPACING_MM)
    uneven = stretched(rng.standard_normal((6, 7, 6), dtype=np.float32), head.grid.shape)
    border = rng.normal(1.0, 1.0) + uneven * rng.uniform(0.0, 1.5)
    found, _ = ndimage.label(outwards - inwards < border)
    return found == np.bincount(found.ravel())[1:].argmax() + 1


class SyntheticSet(Dataset[Sample]):
    """Samples of synthetic patients, each of its own brightness, indexed by `Key`.

    Args:
        plan: the preprocessing whose cases these imitate.
        settings: of the segmenter.
    """

    def __init__(self, plan: PreprocessingPlan, settings: SegmentSettings) -> None:
        self.plan, self.settings = plan, settings
        self._patient = lru_cache(maxsize=POOL + 1)(self._render)

    def _render(self, index: int) -> SyntheticPatient:
        return render_patient((self.settings.seed, 1, index), self.plan)

    def __getitem__(self, key: Key) -> Sample:
        rng = key.rng(3)
        index = key.step // STEPS_EACH + int(rng.integers(POOL))
        patient = self._patient(index)
        size = self.settings.crop or patient.grid.shape
        centre = patch_centre(patient.tumor, size, self.settings.foreground, key.rng(0))
        first = max(0, int(centre[0] - size[0] / 2) - _AROUND)
        seen = slice(first, first + size[0] + 2 * _AROUND + 1)
        volumes = np.zeros((len(self.settings.inputs), *patient.grid.shape), np.float16)
        volumes[:, seen] = _volumes(rng, patient, self.settings.inputs, seen)
        return Sample(
            torch.from_numpy(volumes),
            torch.from_numpy(patient.masks),
            centre,
            key,
            f"synthetic-{index}",
        )


def _volumes(
    rng: np.random.Generator,
    patient: SyntheticPatient,
    inputs: tuple[Sequence, ...],
    slices: slice,
) -> np.ndarray:
    """float16 [channel, z, y, x] of some slices: z-scores in the brain; 0 for a missing sequence.

    Mean and SD are those of the whole brain without its texture, which has none of its own.
    """
    draw = draw_contrast(rng)
    spacing = float(np.mean(patient.grid.spacing))
    shares, detail = patient.shares[:, slices], patient.detail[slices]
    images = render_contrast(draw, shares, detail, spacing)
    brain = patient.brain[slices]
    means = draw.brightness @ patient.mean
    spreads = np.einsum("st,tu,su->s", draw.brightness, patient.square, draw.brightness) - means**2
    for index, missing in enumerate(draw.dropped):
        scores = (images[index] - means[index]) / np.sqrt(max(spreads[index], 1e-6))
        images[index] = 0.0 if missing else np.where(brain, np.clip(scores, -LARGEST, LARGEST), 0.0)
    order = [list(Sequence).index(sequence) for sequence in inputs]
    return images[order].astype(np.float16)


def synthetic_case(
    index: int, plan: PreprocessingPlan, inputs: tuple[Sequence, ...], seed: int
) -> PreparedCase:
    """A synthetic patient that training never shows, as a prepared case to measure on."""
    patient = render_patient((seed, 2, index), plan)
    rng = np.random.default_rng([seed, 3, index])
    working = working_grid(patient.grid, plan.working_mm)
    return PreparedCase(
        patient_id=f"held-out-{index}",
        site="synthetic",
        subset=Split.TUNING.value,
        fold=None,
        age=None,
        sex=None,
        idh=None,
        grade=None,
        codeletion=None,
        origin=Origin.PHANTOMS,
        sequences=inputs,
        volumes=_volumes(rng, patient, inputs, slice(None)),
        brain=patient.brain,
        tumor=patient.tumor,
        tumor_working=resample(patient.masks[1], patient.grid, working) > 127.0,
        grid=patient.grid,
        working=working,
        native=working,
        to_mni=np.eye(4),
        plan_digest=plan.digest(),
    )
