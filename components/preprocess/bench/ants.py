"""The same alignments and bias corrections by ANTsPy (antspyx), where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk

from components.core.errors import BadInput
from components.core.imaging.grid import Grid
from components.core.vocabulary import Sequence
from components.preprocess.bench.measures import (
    Images,
    Note,
    brain_in,
    displacement,
    mean_change,
    on_one_mm,
    timed,
)
from components.preprocess.plan import PreprocessingPlan
from components.preprocess.registration.space import Space
from components.preprocess.registration.template import load_template


def compare_with_ants(
    images: Images,
    space: Space,
    plan: PreprocessingPlan,
    corrected: dict[Sequence, np.ndarray],
    note: Note,
) -> None:
    """Note ANTs' CPU seconds for every stage, and how far its results lie from ours.

    Its alignments have the plan's degrees of freedom, its N4 the authors' setting.

    Raises:
        BadInput: ANTsPy is not installed.
    """
    try:
        import ants
    except ImportError:
        raise BadInput(
            "antspyx", "is not installed", "pip install antspyx, or compare without it"
        ) from None
    t1c = _image(ants, images[Sequence.T1C])
    brain = space.brain.mask
    kind = {6: "Rigid", 12: "Affine"}[plan.align.degrees_of_freedom]
    for name, image in images.items():
        if name is Sequence.T1C:
            continue
        with timed(note, f"{name.value} align, ANTs"):
            found = _register(ants, t1c, _image(ants, image), kind)
        apart = displacement(space.aligned[name].matrix, found, brain)
        note(f"{name.value} alignment, ours to ANTs'", apart, "mm")
    template = load_template()
    stripped = sitk.Mask(images[Sequence.T1C], _on(brain, images[Sequence.T1C]))
    with timed(note, "mni, ANTs"):
        found = _register(ants, _image(ants, template.brain), _image(ants, stripped), "Affine")
    note("mni alignment, ours to ANTs'", displacement(space.mni.matrix, found, template.mask), "mm")
    for name, image in images.items():
        values, inside, grid = on_one_mm(image, brain_in(name, space, image))
        whole = _image(ants, grid.image(values))
        mask = _image(ants, grid.image(inside.astype(np.float32)))
        with timed(note, f"{name.value} bias, ANTs"):
            theirs = ants.n4_bias_field_correction(
                whole,
                mask=mask,
                shrink_factor=2,
                convergence={"iters": [100] * 4, "tol": 1e-6},
                spline_param=300,
            )
        change = mean_change(theirs.numpy().transpose(2, 1, 0), corrected[name], inside)
        note(f"{name.value} mean |dz| against ANTs' N4", change, "SD")


def _on(mask: sitk.Image, image: sitk.Image) -> sitk.Image:
    return sitk.Resample(mask, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)


def _image(ants: Any, image: sitk.Image) -> Any:
    grid = Grid.of(image)
    values = sitk.GetArrayFromImage(sitk.Cast(image, sitk.sitkFloat32)).transpose(2, 1, 0)
    return ants.from_numpy(
        np.ascontiguousarray(values),
        origin=list(grid.origin),
        spacing=list(grid.spacing),
        direction=np.reshape(grid.direction, (3, 3)),
    )


def _register(ants: Any, fixed: Any, moving: Any, kind: str) -> np.ndarray:
    """4x4 matrix, LPS mm of the fixed image -> LPS mm of the moving one."""
    result = ants.registration(fixed, moving, type_of_transform=kind, random_seed=1)
    transform = ants.read_transform(result["fwdtransforms"][0])
    numbers, centre = np.asarray(transform.parameters), np.asarray(transform.fixed_parameters)
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
    return matrix
