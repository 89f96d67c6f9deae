"""One patient from raw images to a prepared case, and a mask's way back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from components.cohort.manifest import Patient
from components.cohort.prepared import PreparedCase
from components.core.errors import BadInput
from components.core.imaging.grid import Grid, working_grid
from components.core.vocabulary import Sequence
from components.preprocess.crop import network_grid
from components.preprocess.intensity.bias_field import fit_bias
from components.preprocess.intensity.z_score import z_scores
from components.preprocess.plan import RECIPE, PreprocessingPlan
from components.preprocess.quality.checks import motion, warnings_of
from components.preprocess.quality.plausibility import (
    brain_numbers,
    broken,
    mni_numbers,
    refuse_implausible,
)
from components.preprocess.registration.align import Alignment
from components.preprocess.registration.resampling import binned, one_thread, resample_to
from components.preprocess.registration.space import SAME_GRID, Space, find_space
from components.preprocess.sequences import PatientImages, input_digests, read_patient
from components.preprocess.settings import BrainBackend
from components.preprocess.stage_cache import Clock

_LEAST_OVERLAP = 0.5
"""Share of the brain a sequence must show to be used at all."""


def prepare_patient(
    patient: Patient,
    plan: PreprocessingPlan,
    *,
    subset: str = "prediction",
    fold: int | None = None,
    cache: Path | None = None,
    clock: Clock | None = None,
    accept_implausible: bool = False,
    unchecked: Collection[str] = (),
) -> PreparedCase:
    """Align, extract the brain, correct the bias, standardise and crop one patient.

    Each image is interpolated once, from its native grid to the network grid.

    Args:
        subset: "training", "tuning", "internal" or the name of an external cohort; "prediction" for
            a patient of none.
        fold: 0-based cross-validation fold, or None.
        cache: folder where alignments and the brain mask are kept for the next time; None for none.
        clock: gathers CPU seconds by stage.
        accept_implausible: carry on where a limit is broken, with a warning.
        unchecked: limits that do not apply, by the name of their check.

    Raises:
        Implausible: the preparation breaks a limit of components.preprocess.quality.plausibility.
        BadInput: the patient's images cannot give a right result; says why and how to mend it. Or
            the plan is of another version, by which this one cannot prepare.
    """
    if plan.recipe != RECIPE:
        raise BadInput(
            "preprocessing plan",
            f"its recipe is {plan.recipe}, this version prepares by recipe {RECIPE}",
            "use the glioflow that made the plan, or train a release with this one",
        )
    clock = clock or Clock()
    try:
        with one_thread():
            with clock.stage("read"):
                files = input_digests(patient, plan.sequences) if cache else {}
                images = read_patient(patient, plan.sequences, plan.images)
            space = find_space(images, plan, clock, files=files, cache=cache)
            case = _case(patient, images, space, plan, subset, fold, clock)
        if accept_implausible:
            found = broken(case.quality, plan, unchecked)
            sentences = tuple(f"accepted though {text}" for _, text in found)
            return replace(case, warnings=(*case.warnings, *sentences))
        refuse_implausible(f"patient {patient.patient_id}", case.quality, plan, unchecked)
        return case
    except BadInput as error:
        if patient.patient_id in error.subject:
            raise
        raise error.within(f"patient {patient.patient_id}") from None


def _case(
    patient: Patient,
    images: PatientImages,
    space: Space,
    plan: PreprocessingPlan,
    subset: str,
    fold: int | None,
    clock: Clock,
) -> PreparedCase:
    grid = network_grid(space.brain.mask, plan)
    working = working_grid(grid, plan.working_mm)
    whole = _mask_on(space.brain.mask, grid)
    seen = {name: _seen(image, grid, space.aligned.get(name))
            for name, image in images.sequences.items()}  # fmt: skip
    covered = {name: float((whole & field).sum() / max(whole.sum(), 1))
               for name, field in seen.items()}  # fmt: skip
    for name, share in covered.items():
        if share < _LEAST_OVERLAP:
            raise BadInput(name.value, f"shows {100 * share:.0f} % of the brain only",
                           "give a scan of the whole brain")  # fmt: skip
    # What T1C does not show is no brain of this case; a hole in another sequence is filled with 0.
    brain = whole & seen[Sequence.T1C]
    common = np.logical_and.reduce(list(seen.values()))
    volumes = []
    for name, image in images.sequences.items():
        with clock.stage("bias"):
            values = _corrected(image, grid, space, name, plan)
        with clock.stage("normalise"):
            scores = z_scores(values, brain, common, name.value, strip=plan.strip)
            volumes.append(np.where(seen[name], scores, 0))
    with clock.stage("tumor"):
        tumor, tumor_working = _tumor(images, space, grid, working)
    with clock.stage("quality"):
        quality = _quality(images, space, brain, grid, covered)
    return PreparedCase(
        patient_id=patient.patient_id,
        site=patient.site,
        subset=subset,
        fold=fold,
        age=patient.age,
        sex=patient.sex,
        idh=patient.idh,
        grade=patient.grade,
        codeletion=patient.codeletion,
        origin=patient.origin,
        sequences=plan.sequences,
        volumes=np.stack(volumes).astype(np.float16),
        brain=brain,
        tumor=tumor,
        tumor_working=tumor_working,
        grid=grid,
        working=working,
        native=images.native,
        to_mni=np.linalg.inv(space.mni.matrix),
        plan_digest=plan.digest(),
        quality=quality,
        warnings=(*images.notes, *_notes(space), *warnings_of(quality, plan)),
    )


def _mask_on(mask: sitk.Image, grid: Grid, matrix: np.ndarray | None = None) -> np.ndarray:
    """bool (z, y, x): a mask interpolated onto `grid`, more than half inside."""
    soft = sitk.Cast(mask, sitk.sitkFloat32)
    return sitk.GetArrayFromImage(resample_to(binned(soft, grid.spacing), grid, matrix)) > 0.5


def _seen(image: sitk.Image, grid: Grid, alignment: Alignment | None) -> np.ndarray:
    """bool (z, y, x): voxels of `grid` within the slices of an image that hold anything.

    Some files carry empty slices where the scan ended.
    """
    values = sitk.GetArrayViewFromImage(image)
    filled = values.max(axis=(1, 2)) > values.min(axis=(1, 2))
    field = np.zeros(values.shape, np.uint8)
    field[np.nonzero(filled)[0].min() : np.nonzero(filled)[0].max() + 1] = 1
    # A voxel of rim: the field of view ends at the voxels' edges, interpolation at their centres.
    field_image = sitk.ZeroFluxNeumannPad(Grid.of(image).image(field), [1] * 3, [1] * 3)
    matrix = alignment.matrix if alignment else None
    return sitk.GetArrayFromImage(resample_to(field_image, grid, matrix, nearest=True)) > 0


def _corrected(
    image: sitk.Image, grid: Grid, space: Space, name: Sequence, plan: PreprocessingPlan
) -> np.ndarray:
    """float32 (z, y, x): an image on the network grid, its bias field divided out."""
    matrix = space.aligned[name].matrix if name in space.aligned else None
    values = sitk.GetArrayFromImage(resample_to(binned(image, grid.spacing), grid, matrix))
    coarse = working_grid(grid, plan.bias.spacing_mm)
    rough = resample_to(binned(image, coarse.spacing), coarse, matrix)
    inside = _mask_on(space.brain.mask, coarse)
    bias = fit_bias(sitk.GetArrayFromImage(rough), inside, coarse, plan.bias)
    return values / bias.on(grid)


def _tumor(
    images: PatientImages, space: Space, grid: Grid, working: Grid
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The manual mask on both grids. It lies in the FLAIR's space when it shares only its grid."""
    if images.tumor is None:
        return None, None
    drawn_on = Grid.of(images.tumor)
    flair = images.sequences[Sequence.FLAIR]
    on_flair = drawn_on == Grid.of(flair) != Grid.of(images.sequences[Sequence.T1C])
    matrix = space.aligned[Sequence.FLAIR].matrix if on_flair else None
    masks = tuple(_mask_on(images.tumor, place, matrix) for place in (grid, working))
    if sitk.GetArrayViewFromImage(images.tumor).any() and not masks[1].any():
        raise BadInput(
            "tumor_mask", "lies outside the brain's box", "give it on the grid of t1c or flair"
        )
    return masks[0], masks[1]


def _quality(
    images: PatientImages,
    space: Space,
    brain: np.ndarray,
    grid: Grid,
    covered: dict[Sequence, float],
) -> dict[str, float]:
    t1c, flair = images.sequences[Sequence.T1C], images.sequences.get(Sequence.FLAIR)
    other = None if flair is None else (flair, space.aligned[Sequence.FLAIR].matrix)
    centre = grid.affine[:3, :3] @ ((np.asarray(grid.size) - 1) / 2) + grid.affine[:3, 3]
    found = {
        "brain_ml": float(brain.sum() * grid.voxel_ml),
        "brain_given": float(space.brain.backend is BrainBackend.GIVEN),
        "mni_similarity": space.mni.similarity,
        **brain_numbers(space.brain.mask),
        **mni_numbers(t1c, space.brain.mask, space.mni.matrix, other),
    }
    for sequence in images.sequences:
        name = sequence.value
        found[f"{name}_covered"] = covered[sequence]
        if sequence not in space.aligned:
            continue
        alignment = space.aligned[sequence]
        found[f"{name}_aligned_already"] = float(SAME_GRID in alignment.notes)
        if SAME_GRID not in alignment.notes:
            shift, turn = motion(alignment, centre)
            found |= {
                f"{name}_similarity": alignment.similarity,
                f"{name}_shift_mm": shift,
                f"{name}_turn_degrees": turn,
            }
    return {key: round(value, 4) for key, value in found.items()}


def _notes(space: Space) -> tuple[str, ...]:
    """What happened on the way and a reader must know; a skipped alignment is no warning."""
    pairs = [*((name.value, found) for name, found in space.aligned.items()), ("mni", space.mni)]
    return tuple(
        f"{name}: {note}" for name, found in pairs for note in found.notes if note != SAME_GRID
    )


def mask_to_native(mask: np.ndarray, case: PreparedCase) -> sitk.Image:
    """Bring a mask back to the T1C's own grid.

    Args:
        mask: bool (z, y, x) on `case.working`.

    Returns:
        uint8 image, 1 in the mask, on `case.native`.
    """
    with one_thread():
        soft = case.working.image(mask.astype(np.float32))
        return sitk.Cast(
            resample_to(binned(soft, case.native.spacing), case.native) > 0.5, sitk.sitkUInt8
        )
