"""The preprocessing plan: every parameter by which a case is made, stored inside the model."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from components.cohort.image_checks.checks import ImageLimits
from components.core.errors import BadInput
from components.core.settings import Settings
from components.core.vocabulary import CLIP_SD, Sequence
from components.preprocess.brain.deepbet import NETWORK, BrainNetwork
from components.preprocess.settings import (
    Aligned,
    AlignSettings,
    AtlasSettings,
    BiasSettings,
    BrainBackend,
    BrainSettings,
    PreprocessSettings,
)

RECIPE = 4
"""Raised whenever the same settings would make other numbers: old cases are then made anew."""


class AtlasIdentity(Settings):
    """Which atlas the loci are measured on.

    Attributes:
        source: its name.
        licence: its terms.
        sha256: of the nine-region volume as it is used.
    """

    source: str
    licence: str
    sha256: str


class PreprocessingPlan(Settings):
    """PreprocessSettings without what does not change the outcome, plus what they stand for.

    Attributes:
        recipe: version of the procedure.
        brain_network: the networks that find the brain; None for other backends.
        template_sha256: of the MNI152 brain to which T1C is aligned.
        atlas: identity of the loci atlas.
        atlas_files: where to load it from.
        clip: z-scores are cut at this many SDs at the networks' input.
        The others: see PreprocessSettings.
    """

    recipe: int = RECIPE
    sequences: tuple[Sequence, ...]
    working_mm: float
    grid: int
    clip: float = CLIP_SD
    margin_mm: tuple[float, float, float]
    strip: bool
    aligned: Aligned
    align: AlignSettings
    mni: AlignSettings
    brain: BrainSettings
    bias: BiasSettings
    atlas: AtlasIdentity
    atlas_files: AtlasSettings
    brain_network: BrainNetwork | None
    template_sha256: str
    images: ImageLimits = Field(
        default=ImageLimits(), exclude_if=lambda limits: limits == ImageLimits()
    )


def make_plan(settings: PreprocessSettings) -> PreprocessingPlan:
    """Bind settings to the template and the atlas at hand.

    Raises:
        BadInput: the atlas cannot be read.
    """
    from components.preprocess.atlas.regions import atlas_of
    from components.preprocess.registration.template import load_template

    atlas = atlas_of(settings.atlas)
    return PreprocessingPlan(
        **{name: getattr(settings, name) for name in _SHARED},
        atlas=AtlasIdentity(source=atlas.source, licence=atlas.licence, sha256=atlas.sha256),
        atlas_files=settings.atlas,
        brain_network=None if settings.brain.backend is BrainBackend.HDBET else NETWORK,
        template_sha256=load_template().sha256,
    )


_SHARED = (
    "sequences",
    "working_mm",
    "grid",
    "margin_mm",
    "strip",
    "aligned",
    "align",
    "mni",
    "brain",
    "bias",
    "images",
)


def read_plan(path: Path | str) -> PreprocessingPlan:
    """Read the plan.json of a prepared set or a release. Raises BadInput when it is none."""
    try:
        return PreprocessingPlan.model_validate_json(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise BadInput(
            path, f"not a preprocessing plan ({error})", "prepare the cohort again"
        ) from None
