"""Limits outside of which a preparation is not carried on.

A brain mask that holds the scalp, a head that is cut in half or an image that is no T1C would still
give z-scores, a mask and a probability. Each limit below is on a number of the case's quality; one
that is broken leaves the patient out of training, and makes serving abstain.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from components.core.errors import Implausible
from components.core.imaging.grid import Grid
from components.preprocess.plan import PreprocessingPlan
from components.preprocess.registration.align import Kind, align
from components.preprocess.registration.resampling import coarse, resample_to
from components.preprocess.registration.template import load_template
from components.preprocess.settings import AlignSettings

LEAST_LARGEST = 0.95
"""Share of the brain mask in its largest component."""

MOST_CUT = 0.6
"""Cross-section of the brain on a face of the image, over its largest along that axis: beyond, half
of the head lies outside the field of view. A field of view that ends at the vertex or in the
cerebellum cuts less."""

LEAST_IN_VIEW = 0.85
"""Share of MNI152's brain, as it lies on the patient, that the image's field of view holds: 0.98
and more in real heads, 0.7 in the lower half of one."""

MNI_SCALE = (0.75, 1.2)
"""Size of the patient's brain over MNI152's, along each of MNI152's axes. MNI152 is large: 53 real
heads lie between 0.82 and 1.03."""

LEAST_MNI_SIMILARITY = 0.2
"""Mutual information (nats) of the brain and MNI152; 0.37 and more in real heads."""

LEAST_ORIENTATION = 0.02
"""By how much (nats) the brain resembles MNI152 more than a turned MNI152. 65 real heads: 0.08 to
0.32; heads turned under their old header: -0.17 to 0.01."""

_TURNED = {"upright": (), "upside down": (0,), "back to front": (1,), "both": (0, 1)}
"""Axes (z, y, x) along which MNI152 is turned. Left for right looks the same and cannot be seen."""

_ORIENTING = AlignSettings(levels_mm=(8.0,), samples=6000, iterations=15, starts=1)

LEAST_SIMILARITY = 0.15
"""Mutual information (nats) of two sequences of one head."""

LEAST_T1_CORRELATION = -0.1
"""Rank correlation of the brain with MNI152's T1. Real T1C: 0.06 to 0.64; a T2: -0.54."""

LEAST_OVER_FLAIR = -0.25
"""Rank correlation of brain tissue with MNI152's T1, the T1C's less the FLAIR's. White matter is
the brighter on a T1C and the darker on most FLAIRs. Real heads: -0.18 to 0.73. Of the same heads
with the two swapped half fall below this limit, 19 of 20 below 0, where a warning says so."""

_TISSUE = 0.6
"""Share of MNI152's brightest value above which a voxel of it is grey or white matter."""

REMEDY = "look at the images; accept_implausible lets them through, with a warning"


@dataclass(frozen=True)
class Limit:
    """One limit.

    Attributes:
        check: its name, for machines.
        key: the number in the case's quality; a case without it is not checked.
        low, high: what it must lie within.
        sentence: what is wrong beyond, with `value` in it.
    """

    check: str
    key: str
    low: float
    high: float
    sentence: str


def limits_of(plan: PreprocessingPlan) -> tuple[Limit, ...]:
    """Every limit on a case of this plan."""
    low, high = plan.brain.plausible_ml
    scale = "the brain is {value:.2f} times as large as MNI152's along one axis"
    return (
        Limit("brain_volume", "brain_ml", low, high, "a brain of {value:.0f} mL is not plausible"),
        Limit("brain_pieces", "brain_largest", LEAST_LARGEST, 1.0,
              "the brain mask is in pieces: the largest holds {value:.0%} of it"),
        Limit("field_of_view", "brain_cut", 0.0, MOST_CUT,
              "the image ends inside the brain, where its section is {value:.0%} of the largest"),
        Limit("field_of_view", "mni_in_view", LEAST_IN_VIEW, np.inf,
              "the image shows {value:.0%} of the brain only"),
        Limit("mni_scale", "mni_scale_least", MNI_SCALE[0], np.inf, scale),
        Limit("mni_scale", "mni_scale_most", 0.0, MNI_SCALE[1], scale),
        Limit("mni_similarity", "mni_similarity", LEAST_MNI_SIMILARITY, np.inf,
              "the image does not resemble a brain (similarity {value:.2f} to MNI152)"),
        Limit("orientation", "mni_orientation", LEAST_ORIENTATION, np.inf,
              "the head lies otherwise than its header says: turned upside down or back to front"),
        Limit("t1_contrast", "t1_correlation", LEAST_T1_CORRELATION, np.inf,
              "the t1c has not the contrast of a T1 (correlation {value:.2f} with MNI152)"),
        Limit("t1_contrast", "t1_over_flair", LEAST_OVER_FLAIR, np.inf,
              "the t1c has less of a T1's contrast than the flair ({value:.2f}): swapped?"),
        *(
            Limit("registration", f"{name.value}_similarity", LEAST_SIMILARITY, np.inf,
                  f"{name.value} is not registered to t1c (similarity {{value:.2f}})")
            for name in plan.sequences
        ),
    )  # fmt: skip


def broken(
    quality: dict[str, float], plan: PreprocessingPlan, unchecked: Collection[str] = ()
) -> list[tuple[str, str]]:
    """(check, sentence) of every limit that a case's quality breaks.

    Args:
        unchecked: names of checks that do not apply.
    """
    found = []
    for limit in limits_of(plan):
        if limit.check in unchecked:
            continue
        value = quality.get(limit.key)
        if value is not None and not limit.low <= value <= limit.high:
            found.append((limit.check, limit.sentence.format(value=value)))
    return found


def refuse_implausible(
    subject: str,
    quality: dict[str, float],
    plan: PreprocessingPlan,
    unchecked: Collection[str] = (),
) -> None:
    """Raises Implausible, named after the first limit that is broken, with a sentence for each.

    Args as of `broken`.
    """
    found = broken(quality, plan, unchecked)
    if found:
        raise Implausible(subject, "; ".join(text for _, text in found), REMEDY, found[0][0])


def brain_numbers(mask: sitk.Image) -> dict[str, float]:
    """`brain_largest` and `brain_cut` of a brain mask; see LEAST_LARGEST and MOST_CUT."""
    inside = sitk.GetArrayViewFromImage(mask) > 0
    pieces = sitk.ConnectedComponent(mask > 0, True)
    counts = np.bincount(sitk.GetArrayViewFromImage(pieces).ravel())[1:]
    cut = 0.0
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        sections = np.count_nonzero(inside, axis=others)
        cut = max(cut, sections[0] / sections.max(), sections[-1] / sections.max())
    return {"brain_largest": float(counts.max() / counts.sum()), "brain_cut": float(cut)}


def mni_numbers(
    t1c: sitk.Image,
    mask: sitk.Image,
    mni_to_t1c: np.ndarray,
    flair: tuple[sitk.Image, np.ndarray] | None = None,
) -> dict[str, float]:
    """What MNI152 tells of a head; see the limits above.

    Args:
        mask: the brain, any grid in the T1C's space.
        mni_to_t1c: 4x4, LPS mm in MNI152 -> LPS mm in the T1C's space.
        flair: the FLAIR, and 4x4, LPS mm in the T1C's space -> LPS mm in the FLAIR's.

    Returns:
        `mni_scale_least`, `mni_scale_most`, `mni_in_view`, `mni_orientation`; where the brain
        covers some of MNI152's, `t1_correlation`; and with a FLAIR `t1_over_flair`.
    """
    template = coarse(load_template().brain, 4.0)
    grid, expected = Grid.of(template), sitk.GetArrayFromImage(template)

    def on_mni(image: sitk.Image, matrix: np.ndarray) -> np.ndarray:
        return sitk.GetArrayFromImage(resample_to(coarse(image, 4.0), grid, matrix))

    inside = (on_mni(sitk.Cast(mask, sitk.sitkFloat32), mni_to_t1c) > 0.9) & (expected > 0)
    view = Grid.of(t1c).image(np.ones(Grid.of(t1c).shape, np.uint8))
    seen = sitk.GetArrayFromImage(resample_to(view, grid, mni_to_t1c, nearest=True)) > 0
    scales = np.linalg.norm(mni_to_t1c[:3, :3], axis=0)
    found = {
        "mni_scale_least": float(scales.min()),
        "mni_scale_most": float(scales.max()),
        "mni_in_view": float(seen[expected > 0].mean()),
        "mni_orientation": _orientation(t1c, mask, mni_to_t1c),
    }
    if inside.sum() > 1:
        values = on_mni(t1c, mni_to_t1c)
        found["t1_correlation"] = _rank_correlation(values[inside], expected[inside])
        tissue = inside & (expected > _TISSUE * expected.max())
        if flair is not None:
            image, t1c_to_flair = flair
            other = on_mni(image, t1c_to_flair @ mni_to_t1c)
            found["t1_over_flair"] = _rank_correlation(
                values[tissue], expected[tissue]
            ) - _rank_correlation(other[tissue], expected[tissue])
    return found


def _rank_correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Spearman's correlation; 0 where a value is constant."""
    from scipy.stats import spearmanr

    return float(np.nan_to_num(spearmanr(one, two).statistic))


def _orientation(t1c: sitk.Image, mask: sitk.Image, mni_to_t1c: np.ndarray) -> float:
    """See LEAST_ORIENTATION. A turned MNI152 fills the same place, so each fit begins there."""
    stripped = sitk.Mask(t1c, resample_to(mask, Grid.of(t1c), nearest=True))
    small, template = coarse(stripped, _ORIENTING.levels_mm[0]), load_template()
    found = {}
    for name, axes in _TURNED.items():
        fixed, inside = (
            template.grid.image(np.ascontiguousarray(np.flip(array, axes)))
            for array in (template.intensities, template.inside)
        )
        fitted = align(
            fixed, small, _ORIENTING, mask=inside, first=Kind.SIMILARITY, start=mni_to_t1c
        )
        found[name] = fitted.similarity
    return found.pop("upright") - max(found.values())
