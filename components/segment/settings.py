"""What a profile may set about the segmenter: its architecture, its training and its inference."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from components.core.device import Device
from components.core.settings import Settings
from components.core.vocabulary import Sequence


class Precision(StrEnum):
    """Number format of the convolutions; weights, losses and optimiser are always float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Norm(StrEnum):
    """Over what the U-Net normalises its maps."""

    INSTANCE = "instance"
    """Each sample by itself: any batch size, and the same in training and prediction."""

    BATCH = "batch"
    """All samples of a batch, running averages in prediction: learns in fewer steps from patches,
    and keeps how bright a patch is against others. Processes of torchrun take their own samples."""


class UNetSettings(Settings):
    """Architecture of the U-Net (method.md: five levels, width 21, Dropout3d 0.3).

    Attributes:
        width: channels of the first level, doubled at every level.
        max_width: upper bound of the channels of any level.
        levels: resolutions, the finest included.
        fold_z: neighbouring axial slices taken as channels of one, and unfolded in the output.
            Thick-slice scans hold no more than that along z; 1 is the paper's network.
        flat_levels: finest levels whose kernels are 1x3x3 and whose pooling is in-plane only; the
            coarsest level is always three-dimensional.
        norm: see Norm.
        narrow_decoder: localisation convolutions give the level's width at once, without the 1^3
            that halves it; a quarter of the arithmetic less.
        dropout: probability of the channel dropout inside the residual blocks.
        centred: the network first takes the brain's mean away from the brain, so that the
            background (0) is as bright as mean brain (0.5 in the paper's normalisation) and the
            first
            layers need not learn to look past the brain's edge.
    """

    width: int = Field(default=21, ge=1)
    max_width: int = Field(default=1024, ge=1)
    levels: int = Field(default=5, ge=3, le=7)
    fold_z: int = Field(default=1, ge=1, le=8)
    flat_levels: int = Field(default=0, ge=0, le=6)
    norm: Norm = Norm.INSTANCE
    narrow_decoder: bool = False
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)
    centred: bool = False

    @model_validator(mode="after")
    def _something_is_deep(self) -> UNetSettings:
        if self.flat_levels >= self.levels:
            raise ValueError(f"flat_levels must be below levels ({self.levels})")
        return self

    @property
    def divisors(self) -> tuple[int, int, int]:
        """The volume's z, y and x must be multiples of these."""
        in_plane: int = 2 ** (self.levels - 1)
        along_z: int = 2 ** max(self.levels - 1 - self.flat_levels, 0)
        return self.fold_z * along_z, in_plane, in_plane


class VolumeAugmentationSettings(Settings):
    """How far a training sample may stray from the scan it came from.

    Probabilities are per sample, or per channel for the intensity changes; `0` switches one off.

    Attributes:
        rotate_degrees: largest rotation about each axis.
        scale: largest relative change of size, per axis, about a common one.
        shift: largest displacement, as a share of the volume's side.
        flip: probability of a left-right mirror image.
        affine: probability of rotating, scaling and shifting at all.
        gamma: largest log of the exponent applied to the clipped intensities.
        contrast: largest log of the factor on the z-scores.
        brightness: largest shift of the z-scores.
        intensity: probability of gamma, contrast and brightness.
        bias: probability of a smooth multiplicative field.
        noise, noise_sd: probability and largest SD of white noise.
        blur: probability of losing in-plane resolution by up to a factor of 2.
        thick_slices: probability of simulated thick axial slices.
        drop: probability that a sequence other than FLAIR carries no information.
        invert: probability that a sequence other than FLAIR has its contrast inverted.
        erode: probability that up to two voxels of the rim of what is seen are missing.
    """

    rotate_degrees: float = Field(default=15.0, ge=0.0, le=180.0)
    scale: float = Field(default=0.15, ge=0.0, le=0.5)
    shift: float = Field(default=0.05, ge=0.0, le=0.5)
    flip: float = Field(default=0.5, ge=0.0, le=1.0)
    affine: float = Field(default=0.8, ge=0.0, le=1.0)
    gamma: float = Field(default=0.3, ge=0.0, le=1.0)
    contrast: float = Field(default=0.3, ge=0.0, le=1.0)
    brightness: float = Field(default=0.4, ge=0.0, le=3.0)
    intensity: float = Field(default=0.6, ge=0.0, le=1.0)
    bias: float = Field(default=0.3, ge=0.0, le=1.0)
    noise: float = Field(default=0.2, ge=0.0, le=1.0)
    noise_sd: float = Field(default=0.3, ge=0.0, le=3.0)
    blur: float = Field(default=0.15, ge=0.0, le=1.0)
    thick_slices: float = Field(default=0.2, ge=0.0, le=1.0)
    drop: float = Field(default=0.1, ge=0.0, le=1.0)
    invert: float = Field(default=0.05, ge=0.0, le=1.0)
    erode: float = Field(default=0.1, ge=0.0, le=1.0)


class SegmentSettings(Settings):
    """Everything that decides which segmenter comes out of a training run.

    Attributes:
        inputs: sequences the network sees, in its channel order.
        steps: optimiser steps per member.
        patience: evaluations without a better tuning Dice before a member stops; 0 never stops
            early. In cross-validation the held-out fold is the test, so every member takes all
            steps and its last average is kept.
        evaluate_every: steps between evaluations on held-out cases; 0 only at the end.
        batch_size: samples per step, over all processes.
        learning_rate, weight_decay, warmup: AdamW, with a linear warm-up over this share of the
            steps and a cosine decay to zero.
        ema_decay: decay of the weights' moving average, which is what is evaluated and kept.
        crop: size in voxels (z, y, x) of the training patch; None trains on whole volumes.
        foreground: share of the patches centred on a tumour voxel.
        batch_dice: one Dice over all samples of a batch, which patches without tumour ask for,
            instead of one a sample.
        checkpoint_every: steps between checkpoints.
        members_at_once: members of a cross-validation trained side by side on a CPU, each with
            `threads` threads; on a GPU, or under torchrun, one after the other.
        threads: CPU threads; 0 leaves torch's choice. Part of what makes a run repeatable.
        workers: processes that read cases ahead of the device; 0 reads in the training process.
        compile: compile the network (CUDA only).
        min_ml: islands smaller than this many mL are not tumour.
        doubt: see MaskRule.
        flips: predict the left-right mirror image too, and average.
    """

    inputs: tuple[Sequence, ...] = (Sequence.T1C, Sequence.FLAIR)
    network: UNetSettings = UNetSettings()
    augmentation: VolumeAugmentationSettings = VolumeAugmentationSettings()
    steps: int = Field(default=27_000, ge=1)
    patience: int = Field(default=0, ge=0)
    evaluate_every: int = Field(default=600, ge=0)
    batch_size: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    weight_decay: float = Field(default=1e-2, ge=0.0)
    warmup: float = Field(default=0.05, ge=0.0, le=1.0)
    ema_decay: float = Field(default=0.995, ge=0.0, lt=1.0)
    crop: tuple[int, int, int] | None = None
    foreground: float = Field(default=0.7, ge=0.0, le=1.0)
    batch_dice: bool = False
    checkpoint_every: int = Field(default=100, ge=1)
    precision: Precision = Precision.BFLOAT16
    device: Device = Device.AUTO
    members_at_once: int = Field(default=1, ge=1)
    threads: int = Field(default=0, ge=0)
    workers: int = Field(default=0, ge=0)
    compile: bool = False
    min_ml: float = Field(default=0.5, ge=0.0)
    doubt: float = Field(default=0.0, ge=0.0, lt=1.0)
    flips: bool = False
    seed: int = 0

    @model_validator(mode="after")
    def _inputs_are_known_once(self) -> SegmentSettings:
        if not self.inputs or len(set(self.inputs)) != len(self.inputs):
            raise ValueError("inputs must name at least one sequence, each once")
        if Sequence.FLAIR not in self.inputs:
            raise ValueError("inputs must hold flair: the whole tumour is outlined on it")
        divisors = self.network.divisors
        if self.crop and any(c % d for c, d in zip(self.crop, divisors, strict=True)):
            raise ValueError(f"crop {self.crop} must be multiples of {divisors}")
        return self
