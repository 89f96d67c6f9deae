"""What a run of a profile takes on this machine: minutes, memory and disk by step.

Operations are counted exactly, on networks without memory; how fast a processor core does them, and
the seconds a patient, are those that docs/scale.md measured on one core of an AMD EPYC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.core.device import Device, choose_device, cores
from components.core.vocabulary import FEATURE_NAMES, SLICE_OFFSETS
from pipelines.profile import Profile

if TYPE_CHECKING:
    from torch import nn

GIB = 2**30

TRAINING = 9e10
"""Operations a second of one core, forward and backward; backward costs twice the forward."""

PREDICTION = 4e10
"""Operations a second of one core, forward, in single precision."""

VALIDATE_S, SAMPLE_S = 0.75, 0.45
"""Core seconds a patient: validate, and features beside the U-Net."""

BRAIN_S, ALIGN_S = 3.5, 8.5
"""Core seconds a patient of preprocess: the brain mask, and what works at `working_mm`, at 1 mm."""

SLICES = len(SLICE_OFFSETS)


@dataclass(frozen=True)
class Estimate:
    """About what one step takes on this machine.

    Attributes:
        minutes: wall time; None where the step computes on a GPU, for which nothing was measured.
        memory_gib: of all its processes.
    """

    step: str
    minutes: float | None
    memory_gib: float


def disk_gib(profile: Profile, patients: int) -> float:
    """Prepared volumes (float16), brain, masks and samples of every patient."""
    voxels = profile.preprocess.grid**3
    each = voxels * (2 * len(profile.preprocess.sequences) + 1) + 2e6
    return patients * each / GIB + 1.0


def estimates(profile: Profile, development: int, external: int) -> tuple[Estimate, ...]:
    """The steps that take longest.

    Args:
        development, external: patients trained on and tested within, and patients of other cohorts.
    """
    patients = development + external
    workers = min((profile.preprocess.workers or cores()) * profile.cluster.shards, cores())
    prepare = BRAIN_S + ALIGN_S / profile.preprocess.working_mm**2
    validators = min(profile.validation.workers or cores(), cores())
    patch, whole = _segmenter_operations(profile)
    seconds = {
        "validate": patients * VALIDATE_S / validators,
        "preprocess": patients * prepare / workers,
        "segment": _segment_s(profile, development, patch, whole),
        "features": _features_s(profile, development, external, whole),
        "classify": _classify_s(profile, development),
        # Noise, smoothed noise and three patients twice, by torch and by ONNX Runtime.
        "export": 16 * _members(profile) * _passes(profile) * whole / PREDICTION / cores(),
    }
    memory = memory_gib(profile, development, validators, workers)
    on_gpu = {
        step
        for step in ("segment", "features", "classify")
        if choose_device(getattr(profile, step).device, f"{step}.device").type == Device.CUDA
    }
    return tuple(
        Estimate(step, None if step in on_gpu else seconds[step] / 60, memory[step])
        for step in seconds
    )


def memory_gib(
    profile: Profile, development: int, validators: int, workers: int
) -> dict[str, float]:
    """Memory of the processes of each step (that of a GPU where it computes on one), GiB.

    Args:
        development: patients trained on.
        validators, workers: processes of `validate` and `preprocess`.
    """
    segment, grid = profile.segment, profile.preprocess.grid
    crop = segment.crop or (grid,) * 3
    width = segment.network.width
    # About 40 maps of the first width are kept for the backward pass, two bytes a voxel.
    kept = segment.batch_size * crop[0] * crop[1] * crop[2] * width * 40 * 2 / GIB
    together = min(segment.members_at_once, _members(profile))
    predict = 1.0 + grid**3 * width * 16 * 4 / GIB
    return {
        "validate": 0.5 * validators,
        "preprocess": 1.5 * workers,
        "segment": together * (1.5 + kept),
        "features": predict,
        "classify": 1.5 + development * SLICES * 3 * grid**2 * 4 / GIB,
        "export": predict,
    }


def _members(profile: Profile) -> int:
    return profile.validation.folds


def _passes(profile: Profile) -> int:
    return 2 if profile.segment.flips else 1


def _segment_s(profile: Profile, development: int, patch: float, whole: float) -> float:
    settings, folds = profile.segment, profile.validation.folds
    rounds = 1 + (settings.steps - 1) // settings.evaluate_every if settings.evaluate_every else 1
    held_out = development / folds if folds > 1 else development * 0.153
    steps = settings.steps * settings.batch_size * 3 * patch / TRAINING
    each = steps + (rounds + 1) * held_out * whole / PREDICTION
    threads = min(settings.threads or cores(), cores())
    at_once = min(settings.members_at_once, folds, cores())
    return _members(profile) * each / max(at_once, min(threads * at_once, cores()))


def _features_s(profile: Profile, development: int, external: int, whole: float) -> float:
    # Development patients of a cross-validation are segmented by the one member that has not
    # learnt from them, all others by every member.
    predictions = development + external * _members(profile)
    network = predictions * _passes(profile) * whole / PREDICTION / cores()
    return network + (development + external) * SAMPLE_S


def _classify_s(profile: Profile, development: int) -> float:
    settings, folds = profile.classify, profile.validation.folds
    trained_on = development * ((folds - 1) / folds if folds > 1 else 0.7)
    epochs = settings.warm.epochs + settings.fine.epochs
    samples = settings.seeds * folds * epochs * trained_on * SLICES
    threads = min(settings.threads or cores(), cores())
    return samples * 3 * _classifier_operations(profile) / TRAINING / threads


def _segmenter_operations(profile: Profile) -> tuple[float, float]:
    """Of one forward pass over a training patch, and over a whole volume."""
    import torch

    from components.segment.network.unet import UNet

    settings, grid = profile.segment, (profile.preprocess.grid,) * 3
    with torch.device("meta"):
        network = UNet(len(settings.inputs), settings.network)
    channels = len(settings.inputs)
    patch = _operations(network, (1, channels, *(settings.crop or grid)))
    return patch, _operations(network, (1, channels, *grid))


def _classifier_operations(profile: Profile) -> float:
    """Of one forward pass over one slice."""
    import torch

    from components.classify.network.resnet import ResNet

    grid = profile.preprocess.grid
    with torch.device("meta"):
        network = ResNet(profile.classify.network)
    return _operations(network, (1, 3, grid, grid), (1, len(FEATURE_NAMES)))


def _operations(network: nn.Module, *shapes: tuple[int, ...]) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        network.eval()(*(torch.zeros(shape, device="meta") for shape in shapes))
    return float(counter.get_total_flops())
