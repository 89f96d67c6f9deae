"""What preparing a patient costs on this machine, and how exact it is."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from components.cohort.manifest import Patient
from components.cohort.masks import read_mask
from components.core.files import read_json
from components.core.imaging.grid import Grid, resample
from components.core.imaging.overlap import dice
from components.core.vocabulary import Sequence
from components.preprocess.bench.ants import compare_with_ants
from components.preprocess.bench.measures import (
    Images,
    Note,
    brain_in,
    displacement,
    mean_change,
    on_one_mm,
    timed,
)
from components.preprocess.intensity.bias_field import fit_bias
from components.preprocess.patient import mask_to_native, prepare_patient
from components.preprocess.plan import PreprocessingPlan
from components.preprocess.registration.resampling import binned, isotropic, one_thread, resample_to
from components.preprocess.registration.space import Space, find_space
from components.preprocess.registration.template import load_template
from components.preprocess.sequences import input_digests, read_patient
from components.preprocess.settings import BiasMethod, BiasSettings
from components.preprocess.stage_cache import Clock

PAPER_N4 = BiasSettings(method=BiasMethod.N4, spacing_mm=2.0)
"""The authors' N4: shrunk by 2 from 1 mm, 100 iterations on four levels."""


@dataclass(frozen=True)
class Truth:
    """What is known of a patient beforehand; None where it is not.

    Attributes:
        motions: sequence name -> 4x4 matrix, T1C-space LPS mm -> that sequence's LPS mm.
        brain: brain mask in the T1C's space.
        mni: 4x4 matrix, MNI152's LPS mm -> T1C-space LPS mm: the affine part of the truth.
    """

    motions: dict[str, np.ndarray] = field(default_factory=dict)
    brain: sitk.Image | None = None
    mni: np.ndarray | None = None


def truth_beside(patient: Patient) -> Truth:
    """What a phantom's folder tells of it; nothing for a patient of flesh and blood."""
    folder = Path(patient.t1c or "").parent
    if not (folder / "truth.json").is_file():
        return Truth()
    content = read_json(folder / "truth.json")
    return Truth(
        {name: np.array(matrix) for name, matrix in content["motions"].items()},
        sitk.ReadImage(str(folder / "brain_mask.nii.gz")),
        np.linalg.inv(np.array(content["mni_scaling"])),
    )


@dataclass(frozen=True)
class Measurement:
    """One measurement of one patient."""

    patient_id: str
    what: str
    value: float
    unit: str


def bench_patient(
    patient: Patient, plan: PreprocessingPlan, truth: Truth, *, n4: bool = False, ants: bool = False
) -> list[Measurement]:
    """Prepare one patient on one core, measured.

    Args:
        truth: what to compare with.
        n4: also fit the authors' N4, and compare the z-scores.
        ants: also do alignments and N4 with ANTsPy (needs `pip install antspyx`), and compare.

    Returns:
        CPU seconds of every stage ("s"), alignment errors ("mm"), overlaps ("Dice"), differences
        of z-scores ("SD"), how many times longer others take ("times").

    Raises:
        BadInput: as `prepare_patient`.
    """
    rows: list[Measurement] = []

    def note(what: str, value: float, unit: str) -> None:
        rows.append(Measurement(patient.patient_id, what, float(value), unit))

    with tempfile.TemporaryDirectory() as folder, one_thread():
        seconds = _chain(patient, plan, Path(folder), note)
        images = read_patient(patient, plan.sequences, plan.images)
        files = input_digests(patient, plan.sequences)
        space = find_space(images, plan, Clock(), files=files, cache=Path(folder))
    _against_truth(space, truth, note)
    if not (n4 or ants):
        return rows
    corrected = _ours(images.sequences, space, plan, note)
    if n4:
        _compare_n4(images.sequences, space, corrected, note)
        slower = _total(rows, "bias, the authors' N4") / _total(rows, " bias")
        note("bias, the authors' N4 to ours", slower, "times")
    if ants:
        compare_with_ants(images.sequences, space, plan, corrected, note)
        for stage in ("align", "mni", "bias"):
            slower = _total(rows, f"{stage}, ANTs") / seconds[stage]
            note(f"{stage}, ANTs to ours", slower, "times")
        ours = sum(seconds[stage] for stage in ("align", "mni", "bias"))
        note("align + mni + bias, ANTs to ours", _total(rows, ", ANTs") / ours, "times")
    return rows


def _total(rows: list[Measurement], ending: str) -> float:
    """Seconds of all rows whose name ends so."""
    return sum(row.value for row in rows if row.what.endswith(ending) and row.unit == "s")


def _chain(patient: Patient, plan: PreprocessingPlan, cache: Path, note: Note) -> dict[str, float]:
    """The whole preparation, and the manual mask's way back. CPU seconds by stage."""
    clock = Clock()
    with timed(note, "whole"):
        case = prepare_patient(
            patient, plan, subset="training", fold=None, cache=cache, clock=clock
        )
    for stage, seconds in clock.seconds.items():
        note(stage, seconds, "s")
    if case.tumor_working is not None and case.tumor_working.any():
        manual = read_mask(str(patient.tumor_mask))
        if Grid.of(manual) == case.native:
            back = sitk.GetArrayFromImage(mask_to_native(case.tumor_working, case)) > 0
            note(
                "tumour mask there and back", dice(back, sitk.GetArrayFromImage(manual) > 0), "Dice"
            )
    return clock.seconds


def _against_truth(space: Space, truth: Truth, note: Note) -> None:
    brain = space.brain.mask
    for name, alignment in space.aligned.items():
        if name.value in truth.motions:
            error = displacement(alignment.matrix, truth.motions[name.value], brain)
            note(f"{name.value} alignment error", error, "mm")
    if truth.mni is not None:
        error = displacement(space.mni.matrix, truth.mni, load_template().mask)
        note("mni alignment error", error, "mm")
    if truth.brain is not None:
        values = sitk.GetArrayFromImage(brain).astype(np.float32)
        found = resample(values, Grid.of(brain), Grid.of(truth.brain)) > 0.5
        note("brain mask", dice(found, sitk.GetArrayFromImage(truth.brain) > 0), "Dice")


def _ours(
    images: Images, space: Space, plan: PreprocessingPlan, note: Note
) -> dict[Sequence, np.ndarray]:
    """Each image on 1 mm, corrected as the plan says."""
    corrected = {}
    for name, image in images.items():
        brain = brain_in(name, space, image)
        values, _, grid = on_one_mm(image, brain)
        with one_thread(), timed(note, f"{name.value} bias"):
            bias = _fit(image, brain, plan.bias)
        corrected[name] = values / bias.on(grid)
    return corrected


def _fit(image: sitk.Image, brain: sitk.Image, settings: BiasSettings):  # type: ignore[no-untyped-def]
    grid = isotropic(image, settings.spacing_mm)
    rough = sitk.GetArrayFromImage(resample_to(binned(image, grid.spacing), grid))
    inside = sitk.GetArrayFromImage(resample_to(binned(brain, grid.spacing), grid)) > 0.5
    return fit_bias(rough, inside, grid, settings)


def _compare_n4(
    images: Images, space: Space, corrected: dict[Sequence, np.ndarray], note: Note
) -> None:
    for name, image in images.items():
        brain = brain_in(name, space, image)
        values, inside, grid = on_one_mm(image, brain)
        with one_thread(), timed(note, f"{name.value} bias, the authors' N4"):
            bias = _fit(image, brain, PAPER_N4)
        change = mean_change(values / bias.on(grid), corrected[name], inside)
        note(f"{name.value} mean |dz| against the authors' N4", change, "SD")
