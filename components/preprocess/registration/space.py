"""Where a patient's brain lies, and how the sequences and MNI152 lie to the T1C."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from components.cohort.manifest import BRAIN_MASK
from components.core.imaging.grid import Grid
from components.core.vocabulary import Sequence
from components.preprocess.brain.extraction import Brain, extract_brain
from components.preprocess.plan import PreprocessingPlan
from components.preprocess.registration.align import Alignment, Kind, align, is_aligned
from components.preprocess.registration.resampling import one_thread, resample_to
from components.preprocess.registration.template import load_template
from components.preprocess.sequences import PatientImages
from components.preprocess.settings import Aligned
from components.preprocess.stage_cache import (
    Clock,
    load_alignment,
    load_brain,
    save_alignment,
    save_brain,
    stage_key,
)

_RIM_MM = 15.0
"""Rim around the brain within which the images are aligned: it holds skull and scalp, whose edges
lead well, and leaves out the jaw and the neck, which move by themselves."""

_RIM_SPACING_MM = 2.0
_MNI_RIM_MM = 5.0

SAME_GRID = "shares the grid of t1c and is aligned to it already"
"""Note of an alignment that was skipped."""


@dataclass(frozen=True)
class Space:
    """Where everything lies: the brain, and each sequence's and MNI152's alignment to T1C."""

    brain: Brain
    aligned: dict[Sequence, Alignment]
    mni: Alignment


def find_space(
    images: PatientImages,
    plan: PreprocessingPlan,
    clock: Clock,
    *,
    files: dict[str, str],
    cache: Path | None,
) -> Space:
    """Find a patient's brain and align T2, FLAIR and MNI152 to the T1C.

    Args:
        clock: gathers CPU seconds by stage.
        files: name -> sha256 of what the images were read from; the key of what is kept.
        cache: folder where alignments and the brain mask are kept for the next time; None for none.

    Raises:
        BadInput: no brain, or no alignment, is found.
    """
    t1c = images.sequences[Sequence.T1C]
    names = (Sequence.T1C.value, BRAIN_MASK)
    shared: dict[str, str] = {name: files[name] for name in names if name in files}
    network = plan.brain_network.model_dump_json() if plan.brain_network else ""
    with clock.stage("brain", threads=True):
        key = stage_key(plan.recipe, shared, plan.brain, network)
        brain = load_brain(cache, key)
        if brain is None:
            brain = extract_brain(t1c, plan.brain, images.brain)
            save_brain(cache, key, brain)
    rim = _dilated(brain.mask, _RIM_MM)

    def to_t1c(sequence: Sequence, fixed: sitk.Image, near: sitk.Image) -> Alignment:
        pair: dict[str, str] = {**shared, "moving": files.get(sequence.value, "")}
        key = stage_key(plan.recipe, pair, plan.brain, network, plan.align, plan.aligned.value)
        with clock.stage("align"):
            found = load_alignment(cache, key) or _to_t1c(
                fixed, images.sequences[sequence], near, plan
            )
        save_alignment(cache, key, found)
        return found

    def to_mni(fixed: sitk.Image, brain: Brain) -> Alignment:
        key = stage_key(plan.recipe, shared, plan.brain, network, plan.mni, plan.template_sha256)
        with clock.stage("mni"):
            found = load_alignment(cache, key) or _to_mni(fixed, brain, plan)
        save_alignment(cache, key, found)
        return found

    others: list[Sequence] = [name for name in images.sequences if name is not Sequence.T1C]
    # Side by side, each on one thread: SimpleITK lets go of the interpreter while it registers.
    with ThreadPoolExecutor(len(others) + 1) as pool:
        mni = pool.submit(to_mni, _own(t1c), replace(brain, mask=_own(brain.mask)))
        jobs = [pool.submit(to_t1c, sequence, _own(t1c), _own(rim)) for sequence in others]
        aligned: dict[Sequence, Alignment] = {
            sequence: job.result() for sequence, job in zip(others, jobs, strict=True)
        }
        return Space(brain, aligned, mni.result())


def _own(image: sitk.Image) -> sitk.Image:
    """A copy with a buffer of its own: SimpleITK moves the buffer of an image that a filter of
    another thread holds."""
    return Grid.of(image).image(sitk.GetArrayFromImage(image))


def _dilated(mask: sitk.Image, rim_mm: float) -> sitk.Image:
    """A mask grown by `rim_mm`, beyond its grid's edge where need be, on voxels of 2 mm or more.

    A rim need not be finer, and the cost of growing it falls with the sixth power of the spacing.
    """
    shrink = [max(1, int(_RIM_SPACING_MM / mm)) for mm in mask.GetSpacing()]
    mask = sitk.BinShrink(sitk.Cast(mask, sitk.sitkFloat32), shrink) >= 0.5
    radius = [max(1, round(rim_mm / mm)) for mm in mask.GetSpacing()]
    return sitk.BinaryDilate(sitk.ConstantPad(mask, radius, radius), radius)


def _to_t1c(
    t1c: sitk.Image, image: sitk.Image, rim: sitk.Image, plan: PreprocessingPlan
) -> Alignment:
    if (
        plan.aligned is Aligned.DETECT
        and Grid.of(t1c) == Grid.of(image)
        and is_aligned(t1c, image, plan.align, rim)
    ):
        return Alignment(np.eye(4), float("nan"), Kind.RIGID, (SAME_GRID,))
    return align(t1c, image, plan.align, mask=rim, mask_last=True)


def _to_mni(t1c: sitk.Image, brain: Brain, plan: PreprocessingPlan) -> Alignment:
    """MNI152 -> T1C, affine, on the stripped brain.

    Stripped without a rim: the template's brain has none, and grows into one by its width.
    """
    template = load_template()
    stripped = sitk.Mask(t1c, resample_to(brain.mask, Grid.of(t1c), nearest=True))
    rim = _dilated(template.mask, _MNI_RIM_MM)
    return align(template.brain, stripped, plan.mni, mask=rim, first=Kind.SIMILARITY)


def locate_in_mni(t1c: sitk.Image, plan: PreprocessingPlan) -> np.ndarray:
    """4x4 matrix, LPS mm in a T1C's space -> LPS mm in MNI152; what `prepare_patient` finds.

    Args:
        t1c: as `read_image` gives it, skull on or off.

    Raises:
        BadInput: no brain is found.
    """
    with one_thread():
        oriented = sitk.DICOMOrient(t1c, "LPS")
        brain = extract_brain(oriented, plan.brain)
        return np.linalg.inv(_to_mni(oriented, brain, plan).matrix)
