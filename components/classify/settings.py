"""What a profile may set about the classifier and its comparators."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, PositiveInt

from components.core.device import Device
from components.core.settings import Settings


class Pooling(StrEnum):
    """Over which part of the last feature map the average is taken."""

    IMAGE = "image"
    """All of it, as the paper's ResNet-34 does."""

    TUMOR = "tumor"
    """The part that lies in the tumour mask: fewer patients suffice to learn where to look."""


class ResNetSettings(Settings):
    """Architecture of the ResNet and the hybrid (method.md, classifier; the defaults are the
    paper's).

    Attributes:
        blocks: basic blocks in each of the four layers.
        width: channels of the first layer, doubled from layer to layer.
        pooling: see Pooling.
        statistics: hand mean, SD and bright tail of both sequences inside the mask to the last
            layer as well, which a network learns from many patients but hardly from fifty.
        frozen: parts nearest to the image (stem, layer 1, ..., layer 4) that the hybrid copies from
            the warm-up and does not change.
        bottleneck: numbers to which the image branch is reduced before the features join.
        hidden: units of the layer that joins both.
        dropout: probability before the bottleneck and before the classes.
    """

    blocks: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (3, 4, 6, 3)
    width: int = Field(default=64, ge=2)
    pooling: Pooling = Pooling.IMAGE
    statistics: bool = False
    frozen: int = Field(default=3, ge=0, le=5)
    bottleneck: int = Field(default=8, ge=2)
    hidden: int = Field(default=8, ge=2)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)


class StageSettings(Settings):
    """One stage of training.

    Attributes:
        epochs: times that every slice is seen.
        learning_rate, weight_decay: AdamW, with a short warm-up and a cosine decay to zero.
        patience: epochs without a better tuning loss before the stage stops; 0 never stops early.
            Without tuning patients (cross-validation) every epoch is run and the last is kept.
    """

    epochs: int = Field(ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    weight_decay: float = Field(default=1e-2, ge=0.0)
    patience: int = Field(default=0, ge=0)


class SliceAugmentationSettings(Settings):
    """How far a training slice may stray from the scan it came from; 0 switches a change off.

    Attributes:
        rotate_degrees, scale, shift: largest rotation, relative change of size, and displacement as
            a share of the side.
        flip: probability of a left-right mirror image.
        contrast: largest log of the factor on the z-scores, drawn for each sequence.
        brightness: largest shift of the z-scores, drawn for each sequence.
        noise: largest SD of white noise, in z-scores.
        blur: probability of losing half the resolution.
        drop: probability that one of the two sequences carries no information.
        features: SD of the noise on the standardised numeric features.
    """

    rotate_degrees: float = Field(default=15.0, ge=0.0, le=180.0)
    scale: float = Field(default=0.15, ge=0.0, le=0.5)
    shift: float = Field(default=0.05, ge=0.0, le=0.5)
    flip: float = Field(default=0.5, ge=0.0, le=1.0)
    contrast: float = Field(default=0.2, ge=0.0, le=1.0)
    brightness: float = Field(default=0.2, ge=0.0, le=3.0)
    noise: float = Field(default=0.2, ge=0.0, le=3.0)
    blur: float = Field(default=0.1, ge=0.0, le=1.0)
    drop: float = Field(default=0.0, ge=0.0, le=1.0)
    features: float = Field(default=0.1, ge=0.0, le=2.0)


class AuxiliarySettings(Settings):
    """Weights of further targets learnt by the same layers, where a patient's are known."""

    grade: float = Field(default=0.0, ge=0.0)
    codeletion: float = Field(default=0.0, ge=0.0)


class ForestSettings(Settings):
    """The shape/loci radiomics classifier (method.md: random forest, 10-fold cross-validation).

    Attributes:
        trees: number of trees.
        folds: cross-validation in which the grid is judged, by log loss.
        min_leaf, max_features: the grid: patients in a leaf, share of the features tried at a node.
        repeats: permutations a feature for its importance.
    """

    trees: int = Field(default=500, ge=1)
    folds: int = Field(default=10, ge=2)
    min_leaf: tuple[int, ...] = (1, 3, 6)
    max_features: tuple[float, ...] = (0.2, 0.5)
    repeats: int = Field(default=20, ge=1)


class CalibrationKind(StrEnum):
    """What is fitted on held-out patients so that a probability means what it says."""

    NONE = "none"
    TEMPERATURE = "temperature"
    """One factor on the logits."""

    PLATT = "platt"
    """A factor and a shift; the shift takes back what weighting the classes did."""


class ClassifySettings(Settings):
    """Everything that decides which classifiers come out of a training run.

    Attributes:
        warm, fine: the conventional ResNet (paper: 111 epochs), then the hybrid (72 epochs).
        batch_size: slices a step.
        seeds: networks trained from different seeds for every member, and averaged.
        seed: the first of them.
        balance: weigh both classes equally in the loss.
        label_smoothing: of the loss.
        selection_p: features whose t-test against IDH has a P below this are kept; 1 keeps all.
        min_patients: fewer labelled training patients than this are refused.
        calibration: see CalibrationKind.
        conformal: share of each class's patients whose status is to lie in their conformal set;
            None makes no sets. Held-out patients, n of a class, carry n / (n + 1) at most.
        coverage: share of held-out patients that are answered; the most uncertain others fall
            under `abstain`.
        ood_limit: from this many times the held-out 95th percentile of the distance to the
            training patients on, a patient counts as unlike them, and falls under `abstain`.
        explain: wrong calls of each kind and test set whose saliency maps are kept, for the
            report's failure gallery; 0 explains no patient.
        checkpoint_every: epochs between checkpoints.
        threads: CPU threads; 0 leaves torch's choice. Part of what makes a run repeatable.
    """

    network: ResNetSettings = ResNetSettings()
    augmentation: SliceAugmentationSettings = SliceAugmentationSettings()
    auxiliary: AuxiliarySettings = AuxiliarySettings()
    forest: ForestSettings = ForestSettings()
    warm: StageSettings = StageSettings(epochs=111)
    fine: StageSettings = StageSettings(epochs=72, learning_rate=3e-4)
    batch_size: int = Field(default=32, ge=2)
    seeds: int = Field(default=1, ge=1, le=20)
    seed: int = Field(default=0, ge=0)
    balance: bool = True
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)
    selection_p: float = Field(default=0.05, gt=0.0, le=1.0)
    min_patients: int = Field(default=20, ge=4)
    calibration: CalibrationKind = CalibrationKind.PLATT
    conformal: float | None = Field(default=None, gt=0.0, lt=1.0)
    coverage: float = Field(default=0.9, gt=0.0, le=1.0)
    ood_limit: float = Field(default=2.0, gt=0.0)
    explain: int = Field(default=5, ge=0)
    device: Device = Device.AUTO
    threads: int = Field(default=0, ge=0)
    checkpoint_every: int = Field(default=5, ge=1)
