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

MNI_SCALE = (0.75, 1.2)
"""Size of the patient's brain over MNI152's, along each of MNI152's axes. MNI152 is large: 53 real
heads lie between 0.82 and 1.03."""

LEAST_MNI_SIMILARITY = 0.2
"""Mutual information (nats) of the brain and MNI152; 0.37 and more in real heads."""

LEAST_ORIENTATION = -0.02
"""By how much (nats) the brain resembles MNI152 more than a turned MNI152. Real heads: 0.03 (a
large cyst, the cerebellum cut off) to 0.30; heads turned under their old header: -0.07 to -0.11."""

_TURNED = {"upright": (), "upside down": (0,), "back to front": (1,), "both": (0, 1)}
"""Axes (z, y, x) along which MNI152 is turned. Left for right looks the same and cannot be seen."""

_ORIENTING = AlignSettings(levels_mm=(8.0,), samples=6000, iterations=15, starts=1)

LEAST_SIMILARITY = 0.15
"""Mutual information (nats) of two sequences of one head."""

LEAST_T1_CORRELATION = -0.1
"""Rank correlation of the brain with MNI152's T1. Real T1C: 0.06 to 0.64; a T2: -0.54."""

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
        Limit("mni_scale", "mni_scale_least", MNI_SCALE[0], np.inf, scale),
        Limit("mni_scale", "mni_scale_most", 0.0, MNI_SCALE[1], scale),
        Limit("mni_similarity", "mni_similarity", LEAST_MNI_SIMILARITY, np.inf,
              "the image does not resemble a brain (similarity {value:.2f} to MNI152)"),
        Limit("orientation", "mni_orientation", LEAST_ORIENTATION, np.inf,
              "the head lies otherwise than its header says: turned upside down or back to front"),
        Limit("t1_contrast", "t1_correlation", LEAST_T1_CORRELATION, np.inf,
              "the t1c has not the contrast of a T1 (correlation {value:.2f} with MNI152)"),
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


def mni_numbers(t1c: sitk.Image, mask: sitk.Image, mni_to_t1c: np.ndarray) -> dict[str, float]:
    """`mni_scale_least`, `mni_scale_most`, `mni_orientation` and `t1_correlation`.

    Args:
        mask: the brain, any grid in the T1C's space.
        mni_to_t1c: 4x4, LPS mm in MNI152 -> LPS mm in the T1C's space.
    """
    template = coarse(load_template().brain, 4.0)
    grid = Grid.of(template)
    values = sitk.GetArrayFromImage(resample_to(coarse(t1c, 4.0), grid, mni_to_t1c))
    soft = coarse(sitk.Cast(mask, sitk.sitkFloat32), 4.0)
    inside = sitk.GetArrayFromImage(resample_to(soft, grid, mni_to_t1c)) > 0.9
    expected = sitk.GetArrayFromImage(template)
    inside &= expected > 0
    scales = np.linalg.norm(mni_to_t1c[:3, :3], axis=0)
    found = {
        "mni_scale_least": float(scales.min()),
        "mni_scale_most": float(scales.max()),
        "mni_orientation": _orientation(t1c, mask),
    }
    if inside.sum() > 1:
        from scipy.stats import spearmanr

        found["t1_correlation"] = float(
            np.nan_to_num(spearmanr(values[inside], expected[inside]).statistic)
        )
    return found


def _orientation(t1c: sitk.Image, mask: sitk.Image) -> float:
    """See LEAST_ORIENTATION."""
    stripped = sitk.Mask(t1c, resample_to(mask, Grid.of(t1c), nearest=True))
    small, template = coarse(stripped, _ORIENTING.levels_mm[0]), load_template()
    found = {}
    for name, axes in _TURNED.items():
        fixed, inside = (
            template.grid.image(np.ascontiguousarray(np.flip(array, axes)))
            for array in (template.intensities, template.inside)
        )
        fitted = align(fixed, small, _ORIENTING, mask=inside, first=Kind.SIMILARITY)
        found[name] = fitted.similarity
    return found.pop("upright") - max(found.values())
