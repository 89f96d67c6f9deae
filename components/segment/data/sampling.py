"""Which cases a member learns from, in which order, and how they reach the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from components.cohort.prepared import PreparedCase, read_cases
from components.core.errors import BadInput
from components.core.imaging.grid import resample
from components.core.vocabulary import Sequence, Split
from components.segment.settings import SegmentSettings


@dataclass(frozen=True)
class MemberCases:
    """One network to train.

    Attributes:
        index: position among the members, 0-based.
        fold: the fold held out; None when there is no cross-validation.
        training, held_out: development cases to learn from, and to measure on.
    """

    index: int
    fold: int | None
    training: tuple[PreparedCase, ...]
    held_out: tuple[PreparedCase, ...]

    @property
    def name(self) -> str:
        """File stem of this member."""
        return f"member_{self.index}"


def development_cases(prepared: Iterable[Path], settings: SegmentSettings) -> list[PreparedCase]:
    """Read the development cases that carry a manual mask, checked for training.

    Raises BadInput: none, two plans or grids mixed, a sequence or the tumour missing.
    """
    folders = list(prepared)
    cases = [c for c in read_cases(folders) if c.in_development and c.tumor is not None]
    where = ", ".join(str(folder) for folder in folders) or "prepared cases"
    if not cases:
        raise BadInput(
            where, "no development case has a tumour mask", "give tumor_mask in the manifest"
        )
    for case in cases:
        _check_case(case, settings)
    plans = len({case.plan_digest for case in cases})
    grids = len({case.grid.shape for case in cases})
    if max(plans, grids) > 1:
        raise BadInput(
            where,
            f"cases of {plans} preprocessing plans and {grids} grids are mixed",
            "prepare all of them with one plan",
        )
    return cases


def _check_case(case: PreparedCase, settings: SegmentSettings) -> None:
    who = f"patient {case.patient_id}"
    assert case.tumor is not None
    if case.tumor.shape != case.grid.shape or case.volumes.shape[1:] != case.grid.shape:
        raise BadInput(
            who,
            f"tumour mask {case.tumor.shape}, volumes {case.volumes.shape[1:]}, "
            f"grid {case.grid.shape} differ in shape",
            "prepare the patient again",
        )
    if not case.tumor.any():
        raise BadInput(who, "the tumour mask is empty", "correct the mask, or leave its cell empty")
    for sequence in settings.inputs:
        if sequence not in case.sequences:
            raise BadInput(
                who, f"sequence {sequence.value} was not prepared", "set segment.inputs to match"
            )
    divisors = settings.network.divisors
    if any(n % d for n, d in zip(case.grid.shape, divisors, strict=True)):
        raise BadInput(
            who,
            f"grid {case.grid.shape} (z, y, x) is not a multiple of {divisors}",
            "change preprocess.grid, or levels, fold_z and flat_levels of segment.network",
        )
    if settings.crop and any(c > n for c, n in zip(settings.crop, case.grid.shape, strict=True)):
        raise BadInput(
            who,
            f"segment.crop {settings.crop} exceeds the grid {case.grid.shape}",
            "lower segment.crop",
        )


def plan_segmenter_members(cases: list[PreparedCase]) -> list[MemberCases]:
    """Split the development cases into members.

    Cases without folds: one member, training against tuning cases. K folds: member k holds out fold
    k.

    Raises BadInput: a member would have nothing to learn from or to be measured on.
    """
    folds = {c.fold for c in cases if c.fold is not None}
    if not folds:
        training = tuple(c for c in cases if c.subset == Split.TRAINING)
        tuning = tuple(c for c in cases if c.subset == Split.TUNING)
        members = [MemberCases(0, None, training, tuning)]
    else:
        folded = [c for c in cases if c.fold is not None]
        members = [
            MemberCases(
                k,
                k,
                tuple(c for c in folded if c.fold != k),
                tuple(c for c in folded if c.fold == k),
            )
            for k in range(max(folds) + 1)
        ]
    for member in members:
        if not member.training or not member.held_out:
            raise BadInput(
                "development cases",
                f"member {member.index} has {len(member.training)} cases to learn from and "
                f"{len(member.held_out)} to be measured on",
                "give them the subsets training and tuning, or folds 0 to K-1",
            )
    return members


@dataclass(frozen=True)
class Key:
    """Names one sample of a training run; all its randomness derives from this."""

    seed: int
    member: int
    step: int
    sample: int

    def rng(self, purpose: int) -> np.random.Generator:
        """A generator for one use of this sample's randomness."""
        return np.random.default_rng([self.seed, self.member, self.step, self.sample, purpose])

    def torch_seed(self) -> int:
        """Seed of torch's own generator (dropout) for this sample."""
        return int(self.rng(2).integers(2**31))


@dataclass(frozen=True)
class Sample:
    """One case on its way to the device.

    Attributes:
        volumes: float16 [channel, z, y, x].
        masks: uint8 [2, z, y, x]: field of view and share of tumour, 255 for all of the voxel.
        centre: patch centre in voxels (z, y, x).
        key, patient_id: where it comes from.
    """

    volumes: Tensor
    masks: Tensor
    centre: tuple[float, float, float]
    key: Key
    patient_id: str

    def pin_memory(self) -> Sample:
        """Called by DataLoader: page-locked copies, which a GPU fetches asynchronously."""
        volumes, masks = self.volumes.pin_memory(), self.masks.pin_memory()
        return Sample(volumes, masks, self.centre, self.key, self.patient_id)


class TrainingSet(Dataset[Sample]):
    """A member's training cases, read from memory-mapped files, indexed by `Key`."""

    def __init__(self, member: MemberCases, settings: SegmentSettings) -> None:
        self.cases = member.training
        self.settings = settings
        self._masks: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: Key) -> Sample:
        index = case_of(key, self.settings.batch_size, len(self.cases))
        case = self.cases[index]
        if index not in self._masks:
            self._masks[index] = masks(case)
        size = self.settings.crop or case.grid.shape
        assert case.tumor is not None
        return Sample(
            channels(case, self.settings.inputs),
            self._masks[index],
            patch_centre(case.tumor, size, self.settings.foreground, key.rng(0)),
            key,
            case.patient_id,
        )


def channels(case: PreparedCase, inputs: tuple[Sequence, ...]) -> Tensor:
    """float16 [channel, z, y, x]: the named sequences of a case, read into memory."""
    order = [case.sequences.index(sequence) for sequence in inputs]
    return torch.from_numpy(np.ascontiguousarray(case.volumes[order]))


def masks(case: PreparedCase) -> Tensor:
    """uint8 [2, z, y, x]: the field of view and the share of tumour in each voxel, from 0 to 255.

    The share comes from the finer working grid: at 2 mm it carries the mask's surface to the
    network, which the bool mask on the network grid would lose.
    """
    assert case.tumor is not None
    if case.tumor_working is None:
        share = case.tumor.astype(np.float32)
    else:
        share = resample(case.tumor_working.astype(np.float32), case.working, case.grid)
    field = case.brain | (case.volumes != 0).any(axis=0)
    pair = np.stack([field.astype(np.float32), share])
    return torch.from_numpy(np.rint(255.0 * pair).astype(np.uint8))


def case_of(key: Key, batch_size: int, cases: int) -> int:
    """Index of the case that a sample shows: every epoch is a fresh permutation of all cases."""
    epoch, position = divmod(key.step * batch_size + key.sample, cases)
    order = np.random.default_rng([key.seed, key.member, epoch]).permutation(cases)
    return int(order[position])


def patch_centre(
    tumor: np.ndarray, size: tuple[int, int, int], foreground: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Centre (z, y, x) in voxels of a patch that lies inside the volume.

    With probability `foreground` it is drawn among the tumour's voxels (bool [z, y, x]), where
    there are any, otherwise anywhere, then moved as little as needed for the patch to fit.
    """
    shape = tumor.shape
    if rng.random() < foreground and tumor.any():
        inside = np.flatnonzero(tumor)
        wish = np.unravel_index(inside[rng.integers(len(inside))], shape)
    else:
        wish = tuple(rng.integers(n) for n in shape)
    z, y, x = (
        float(np.clip(w, (s - 1) / 2, n - (s + 1) / 2))
        for w, s, n in zip(wish, size, shape, strict=True)
    )
    return z, y, x


def sample_keys(
    settings: SegmentSettings, member: int, start: int, rank: int = 0, world: int = 1
) -> list[Key]:
    """Keys of all samples this process sees from step `start` on, in order."""
    share = settings.batch_size // world
    return [
        Key(settings.seed, member, step, sample)
        for step in range(start, settings.steps)
        for sample in range(rank * share, (rank + 1) * share)
    ]


def sample_stream(
    dataset: Dataset[Sample], keys: list[Key], settings: SegmentSettings, *, pin: bool
) -> Iterator[Sample]:
    """The samples of `keys`, read ahead by `settings.workers` processes."""
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=keys,
        num_workers=settings.workers,
        pin_memory=pin,
        prefetch_factor=4 if settings.workers else None,
    )
    return iter(loader)
