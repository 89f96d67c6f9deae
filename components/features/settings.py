"""What a profile may set about the samples that the classifier sees."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from components.core.device import Device
from components.core.settings import Settings
from components.core.vocabulary import Sequence


class MaskSource(StrEnum):
    """Whose mask the slices and features are taken from."""

    PREDICTED = "predicted"
    """The segmenter's, out-of-fold in development: what a new patient will have."""

    MANUAL = "manual"
    """The manifest's tumor_mask: for studies of what a perfect segmentation would give."""


class FeatureSettings(Settings):
    """How prepared cases become samples.

    Attributes:
        channels: the two sequences of the image (paper: T1C, T2). A cohort without T2 names a
            substitute here, e.g. FLAIR; the choice is recorded in the samples and in the model.
        mask: see MaskSource.
        workers: cases at a time, each on one CPU thread, so that the samples are the same however
            many cores a machine has.
        device: where the segmenter computes.
    """

    channels: tuple[Sequence, Sequence] = (Sequence.T1C, Sequence.T2)
    mask: MaskSource = MaskSource.PREDICTED
    workers: int = Field(default=1, ge=1)
    device: Device = Device.AUTO

    @model_validator(mode="after")
    def _two_different(self) -> FeatureSettings:
        if self.channels[0] == self.channels[1]:
            raise ValueError("channels must name two different sequences")
        return self
