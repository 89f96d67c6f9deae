"""Who a phantom patient is: every random choice, drawn once and kept apart from its rendering."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from components.cohort.phantom.sites import Plane, Site
from components.core.vocabulary import Idh, Sequence, Sex

T = TypeVar("T")

AGE_MEAN_SD = {Idh.MUTANT: (43.0, 12.5), Idh.WILDTYPE: (57.5, 14.0)}
"""Years; 53 ± 15 at 28 % mutants (Table 1), and an AUROC of age alone near the paper's 0.78."""

LOBE_CENTRES = {
    "frontal": (30.0, 38.0, 24.0),
    "insula": (38.0, 6.0, 2.0),
    "temporal": (46.0, -18.0, -18.0),
    "parietal": (32.0, -52.0, 42.0),
    "occipital": (24.0, -82.0, 8.0),
    "thalamus": (14.0, -20.0, 8.0),
}
"""MNI RAS mm, right hemisphere; the left one is mirrored."""

LOBE_SHARES = {
    Idh.MUTANT: (0.56, 0.14, 0.16, 0.09, 0.02, 0.03),
    Idh.WILDTYPE: (0.26, 0.08, 0.28, 0.20, 0.08, 0.10),
}
"""Shares of the lobes above: mutants sit in the frontal lobe (paper, Discussion)."""


@dataclass(frozen=True)
class Tumor:
    """A drawn tumour.

    Attributes:
        centre: MNI RAS mm of its middle.
        radii: mm of the ellipsoid's half axes.
        rotation: Euler angles in radians.
        roughness: amplitude of the border's irregularity, as a share of the radius.
        core: share of the radius at which oedema ends and solid tumour begins.
        enhancement: 0 (none) to 1 (strong) rim on T1C.
        necrosis: share of the radius that is necrotic.
        mismatch: 0 to 1, how far FLAIR is suppressed inside a bright rim (T2-FLAIR mismatch).
        t2: signal of the solid tumour on T2 in units of white matter's.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    rotation: tuple[float, float, float]
    roughness: float
    core: float
    enhancement: float
    necrosis: float
    mismatch: float
    t2: float


@dataclass(frozen=True)
class Scan:
    """How one sequence was acquired.

    Attributes:
        thickness: mm between slices.
        in_plane: mm in the slice.
        plane: orientation of the slices.
        tilt: degrees about the patient's left-right axis.
        left_handed: the first image axis runs against the patient's, as some converters write it.
        noise: sigma of the Rician noise, white matter = 1.
        bias: coefficients of the log bias field over (x, y, z, xy, xz, yz, x², y², z²).
        contrast: log-factors for (grey matter, white matter, CSF, scalp, tumour).
        gain: scanner units of white matter's signal.
        rotation, shift: rigid motion against the T1C, radians and mm.
    """

    thickness: float
    in_plane: float
    plane: Plane
    tilt: float
    left_handed: bool
    noise: float
    bias: tuple[float, ...]
    contrast: tuple[float, ...]
    gain: float
    rotation: tuple[float, float, float]
    shift: tuple[float, float, float]


@dataclass(frozen=True)
class PhantomParameters:
    """Everything random about one phantom patient.

    `scale` is MNI152's size over the patient's, along x, y, z: MNI's brain is larger than most.
    """

    patient_id: str
    site: str
    seed: int
    idh: Idh
    grade: int
    codeletion: int | None
    age: float
    sex: Sex
    scale: tuple[float, float, float]
    tumor: Tumor
    scans: Mapping[Sequence, Scan]


def draw_cohort(
    site: Site, patients: int, seed: int, mutant_share: float | None = None
) -> list[PhantomParameters]:
    """PhantomParameters a cohort; IDH prevalence, the site's or as given, is exactly rounded.

    Each patient has a seed made of (seed, site, index), so that one patient's draw does not depend
    on how many others there are.
    """
    share = site.mutant_share if mutant_share is None else mutant_share
    mutants = min(max(round(share * patients), 1), max(patients - 1, 1))
    labels = [Idh.MUTANT] * mutants + [Idh.WILDTYPE] * (patients - mutants)
    order = np.random.default_rng(_seed(seed, site.name, -1)).permutation(patients)
    return [
        draw_patient(site, labels[position], seed, index) for index, position in enumerate(order)
    ]


def draw_patient(site: Site, idh: Idh, seed: int, index: int) -> PhantomParameters:
    """PhantomParameters patient `index` (0-based) of a site."""
    own = _seed(seed, site.name, index)
    rng = np.random.default_rng(own)
    grade, codeletion = _group(rng, site, idh)
    mean, sd = AGE_MEAN_SD[idh]
    return PhantomParameters(
        patient_id=f"{site.name}-{index + 1:04d}",
        site=site.name,
        seed=own,
        idh=idh,
        grade=grade,
        codeletion=codeletion,
        age=round(float(np.clip(rng.normal(mean, sd), 18.0, 90.0)), 1),
        sex=Sex.MALE if rng.random() < 0.575 else Sex.FEMALE,
        scale=_three(rng.normal(1.10, 0.025, 3)),
        tumor=_tumor(rng, idh, grade, codeletion),
        scans=_scans(rng, site),
    )


def _seed(seed: int, site: str, index: int) -> int:
    text = f"{seed}/{site}/{index}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


def _group(rng: np.random.Generator, site: Site, idh: Idh) -> tuple[int, int | None]:
    if idh is Idh.WILDTYPE:
        return _weighted(rng, site.wildtype_grades), None
    return _weighted(rng, site.mutant_groups)


def _weighted(rng: np.random.Generator, weights: Mapping[T, int]) -> T:
    shares = np.array(list(weights.values()), dtype=float)
    return list(weights)[rng.choice(len(shares), p=shares / shares.sum())]


def _tumor(rng: np.random.Generator, idh: Idh, grade: int, codeletion: int | None) -> Tumor:
    mutant = idh is Idh.MUTANT
    lobe = list(LOBE_CENTRES)[rng.choice(len(LOBE_CENTRES), p=LOBE_SHARES[idh])]
    side = rng.choice((-1.0, 1.0))
    x, y, z = np.array(LOBE_CENTRES[lobe]) + rng.normal(0.0, 7.0, 3)
    volume_ml = float(np.clip(np.exp(rng.normal(np.log(65 if mutant else 80), 0.6)), 8, 250))
    elongation = np.exp(rng.normal(0.0, 0.14 if mutant else 0.22, 3))
    radius = (3 * volume_ml * 1000 / (4 * np.pi)) ** (1 / 3)
    enhancing = rng.random() < {2: 0.1, 3: 0.4, 4: 0.85}[grade] * (0.6 if mutant else 1.0)
    enhancement = float(rng.uniform(0.4, 1.0)) if enhancing else 0.0
    mismatched = mutant and codeletion == 0 and rng.random() < 0.5
    return Tumor(
        centre=(float(side * abs(x)), float(y), float(z)),
        radii=_three(radius * elongation / np.prod(elongation) ** (1 / 3)),
        rotation=_three(rng.uniform(-np.pi, np.pi, 3)),
        roughness=float(np.clip(rng.normal(0.24 if mutant else 0.34, 0.09), 0.08, 0.6)),
        core=float(np.clip(rng.normal(0.77 if mutant else 0.66, 0.12), 0.35, 0.95)),
        enhancement=enhancement,
        necrosis=float(rng.uniform(0.2, 0.5)) if enhancing and grade == 4 else 0.0,
        mismatch=float(rng.uniform(0.4, 1.0)) if mismatched else float(rng.uniform(0.0, 0.2)),
        t2=float(rng.normal(2.05 if mutant else 1.88, 0.22)),
    )


def _scans(rng: np.random.Generator, site: Site) -> dict[Sequence, Scan]:
    thicknesses = {
        Sequence.T1C: site.t1c_mm,
        Sequence.T2: site.t2_mm,
        Sequence.FLAIR: site.flair_mm,
    }
    return {name: _scan(rng, site, name, options) for name, options in thicknesses.items()}


def _scan(
    rng: np.random.Generator, site: Site, sequence: Sequence, options: tuple[float, ...]
) -> Scan:
    thickness = float(rng.choice(options))
    first = sequence is Sequence.T1C
    plane = site.t1c_planes[rng.integers(len(site.t1c_planes))]
    degrees, shift = site.motion
    moved = 0.0 if first else 1.0
    return Scan(
        thickness=thickness,
        in_plane=float(rng.uniform(*site.in_plane_mm)),
        plane=plane if first and thickness <= 1.0 else Plane.AXIAL,
        tilt=float(rng.normal(0.0, 6.0)),
        left_handed=bool(rng.random() < 0.2),
        noise=float(rng.uniform(*site.noise)),
        bias=tuple(float(b) for b in rng.uniform(-1, 1, 9) * site.bias * _BIAS_SCALES),
        contrast=tuple(float(c) for c in rng.normal(0.0, site.contrast_sd, 5)),
        gain=float(np.exp(rng.normal(np.log(500.0), 0.4))),
        rotation=_three(moved * np.deg2rad(rng.normal(0.0, degrees, 3))),
        shift=_three(moved * rng.normal(0.0, shift, 3)),
    )


def moved_within(degrees: float, mm: float) -> Callable[[PhantomParameters], PhantomParameters]:
    """What makes every sequence but T1C move evenly within ±degrees and ±mm about and along each
    axis, instead of as the site's patients do."""

    def move(draw: PhantomParameters) -> PhantomParameters:
        rng = np.random.default_rng([draw.seed, 6])
        scans = {
            name: scan
            if name is Sequence.T1C
            else replace(
                scan,
                rotation=_three(np.deg2rad(rng.uniform(-degrees, degrees, 3))),
                shift=_three(rng.uniform(-mm, mm, 3)),
            )
            for name, scan in draw.scans.items()
        }
        return replace(draw, scans=scans)

    return move


_BIAS_SCALES = np.array([1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6])
"""Linear, mixed and squared terms of the log bias field."""


def _three(values: np.ndarray) -> tuple[float, float, float]:
    a, b, c = (float(value) for value in values)
    return a, b, c
