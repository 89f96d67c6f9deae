"""Robustness of a release: the same phantoms at rising degradation, predicted by it in process."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from components.cohort.manifest import Patient, read_manifest
from components.cohort.phantom.parameters import PhantomParameters
from components.cohort.phantom.settings import PhantomSettings
from components.cohort.phantom.sites import site_named
from components.core.errors import BadInput
from components.core.progress import Progress, silent
from components.core.vocabulary import SEQUENCE_TITLES, Sequence
from components.evaluate.settings import EvaluateSettings
from components.evaluate.studies.robustness import Trial, evaluate_robustness

THICKNESS_MM = (2.0, 4.0, 6.0, 8.0, 10.0)
NOISE = (0.02, 0.05, 0.1, 0.2)
"""Sigma of the Rician noise as a share of white matter's signal."""

FAR_SEED = 90_000
"""Added to the seed, so that no patient is one that a demo was trained on."""


@dataclass(frozen=True)
class DegradationLevel:
    """One level of one degradation.

    Attributes:
        degradation, unit, level, label: see Trial.
        thickness_mm, noise: of every sequence; None leaves what the site's scanners do.
        replaced: sequence that is missing -> sequence whose image is given in its place.
    """

    degradation: str
    unit: str
    level: float
    label: str
    thickness_mm: float | None = None
    noise: float | None = None
    replaced: tuple[tuple[Sequence, Sequence], ...] = ()

    @property
    def folder(self) -> str:
        """Where its phantoms lie; levels with the same images share them."""
        return f"thickness-{self.thickness_mm}-noise-{self.noise}"

    def turn(self, draw: PhantomParameters) -> PhantomParameters:
        """The same patient in this level's scanner."""
        change: dict[str, Any] = {}
        if self.thickness_mm is not None:
            change["thickness"] = self.thickness_mm
        if self.noise is not None:
            change["noise"] = self.noise
        return replace(draw, scans={s: replace(scan, **change) for s, scan in draw.scans.items()})

    def of(self, patient: Patient) -> Patient:
        """The patient as it is handed in."""
        given = {a.value: getattr(patient, b.value) for a, b in self.replaced}
        return replace(patient, **given)


def levels(sequences: tuple[Sequence, ...]) -> list[DegradationLevel]:
    """All levels for a release that prepares these sequences.

    The T1C is what everything is aligned to: without it nobody is answered.
    """
    found = [
        DegradationLevel("slice thickness", "mm", mm, f"{mm:g} mm", thickness_mm=mm)
        for mm in THICKNESS_MM
    ]
    found += [DegradationLevel("noise", "share", s, f"{100 * s:g} %", noise=s) for s in NOISE]
    swaps = [(a, b) for a in sequences for b in sequences if a not in (Sequence.T1C, b)]
    found.append(DegradationLevel("missing sequence", "", 0.0, "none"))
    for number, (missing, given) in enumerate(swaps, start=1):
        label = f"no {SEQUENCE_TITLES[missing]}, {SEQUENCE_TITLES[given]} in its place"
        found.append(
            DegradationLevel(
                "missing sequence", "", float(number), label, replaced=((missing, given),)
            )
        )
    return found


def study_robustness(
    repository: Path,
    settings: EvaluateSettings,
    out: Path,
    *,
    site: str = "snuh",
    patients: int = 20,
    seed: int = 1,
    resolution_mm: float = 2.0,
    workers: int = 2,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Ask a release for the same phantoms at every level; see `evaluate_robustness`.

    Args:
        repository: exported release.
        patients: phantoms, half of them IDH mutant.
        workers: processes.

    Raises:
        BadInput: the release is not whole, or the site is unknown.
    """
    from components.release.integrity.verification import verify_release

    contents = verify_release(repository).contents
    chosen = levels(contents.plan.sequences)
    total = len(chosen) * patients
    trials: list[Trial] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = []
        for level in chosen:
            manifest = _phantoms(level, out, site, patients, seed, resolution_mm, workers)
            waiting += [
                pool.submit(_try, str(repository), level, patient)
                for patient in read_manifest(manifest)
            ]
        for done, future in enumerate(as_completed(waiting), start=1):
            trials.append(future.result())
            progress(done, total, trials[-1].label)
    trials.sort(key=lambda trial: (trial.degradation, trial.level, trial.patient_id))
    about = {
        "release": verify_release(repository).release,
        "trained_on": contents.trained_on.value,
        "profile": contents.profile,
        "site": site,
        "patients": patients,
        "seed": seed,
        "resolution_mm": resolution_mm,
    }
    return evaluate_robustness(trials, about, settings, out)


def _phantoms(
    level: DegradationLevel,
    out: Path,
    site: str,
    patients: int,
    seed: int,
    resolution_mm: float,
    workers: int,
) -> Path:
    from components.cohort.phantom.dataset import make_cohort

    return make_cohort(
        site_named(site),
        patients,
        FAR_SEED + seed,
        out / "phantoms" / level.folder,
        PhantomSettings(resolution_mm=resolution_mm),
        workers=workers,
        mutant_share=0.5,
        change=level.turn,
    )


@cache
def _release(repository: str) -> Any:
    from components.release.inference.local_release import LocalRelease

    return LocalRelease(Path(repository))


def _try(repository: str, level: DegradationLevel, patient: Patient) -> Trial:
    """One patient at one level, in a process of its own."""
    from components.core.imaging.overlap import dice
    from components.preprocess.cohort import prepare_patient
    from components.release.inference.request import request_tensors

    release = _release(repository)
    contents = release.contents()
    assert patient.idh is not None
    made = partial(
        Trial, level.degradation, level.unit, level.level, level.label, patient.patient_id,
        int(patient.idh),
    )  # fmt: skip
    try:
        case = prepare_patient(level.of(patient), contents.plan)
        answer = release.ask(request_tensors(case, contents))
    except BadInput:
        return made("", float("nan"), float("nan"))
    probability = float("nan") if answer.probability is None else answer.probability
    overlap = float("nan")
    if case.tumor_working is not None:
        overlap = float(dice(answer.mask, case.tumor_working))
    return made(answer.status.value, probability, overlap)
