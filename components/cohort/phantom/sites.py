"""The three sites of the paper: who their patients are, and what their scanners do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from components.core.errors import BadInput


class Plane(StrEnum):
    """Orientation in which slices are acquired."""

    AXIAL = "axial"
    SAGITTAL = "sagittal"


@dataclass(frozen=True)
class Site:
    """A hospital.

    Attributes:
        mutant_share: prevalence of IDH mutation (paper, Table 1).
        groups: (grade, codeletion) -> patients, for wildtype and for mutant (paper, Table 1).
        t1c_mm, t2_mm, flair_mm: slice thicknesses to draw from (paper, Image Acquisition), in mm.
        t1c_planes: orientations of the T1C to draw from.
        in_plane_mm: range of the in-plane voxel size.
        noise: range of the Rician noise's sigma, as a share of white matter's signal.
        bias: largest log-amplitude of the bias field.
        contrast_sd: SD between patients of the log-contrast of each tissue.
        motion: SDs of the rotation (degrees) and shift (mm) between sequences.
    """

    name: str
    mutant_share: float
    wildtype_grades: dict[int, int]
    mutant_groups: dict[tuple[int, int], int]
    t1c_mm: tuple[float, ...]
    t2_mm: tuple[float, ...]
    flair_mm: tuple[float, ...]
    t1c_planes: tuple[Plane, ...]
    in_plane_mm: tuple[float, float]
    noise: tuple[float, float]
    bias: float
    contrast_sd: float
    motion: tuple[float, float]


SEVERANCE = Site(
    name="severance",
    mutant_share=239 / 856,
    wildtype_grades={2: 37, 3: 89, 4: 491},
    mutant_groups={(2, 0): 80, (2, 1): 58, (3, 0): 32, (3, 1): 48, (4, 0): 16, (4, 1): 4},
    t1c_mm=(1.0, 1.0, 1.0, 1.0, 5.0),
    t2_mm=(5.0, 6.0, 7.0),
    flair_mm=(5.0, 6.0, 7.0),
    t1c_planes=(Plane.SAGITTAL, Plane.AXIAL),
    in_plane_mm=(0.9, 1.0),
    noise=(0.01, 0.03),
    bias=0.25,
    contrast_sd=0.04,
    motion=(2.0, 2.0),
)

SNUH = Site(
    name="snuh",
    mutant_share=30 / 107,
    wildtype_grades={2: 5, 3: 15, 4: 57},
    mutant_groups={(2, 0): 1, (2, 1): 8, (3, 0): 12, (3, 1): 8, (4, 0): 1},
    t1c_mm=(1.0,),
    t2_mm=(5.0, 6.0, 7.0),
    flair_mm=(6.0, 7.0),
    t1c_planes=(Plane.SAGITTAL,),
    in_plane_mm=(0.9, 1.0),
    noise=(0.01, 0.03),
    bias=0.3,
    contrast_sd=0.06,
    motion=(2.0, 2.0),
)

TCIA = Site(
    name="tcia",
    mutant_share=84 / 203,
    wildtype_grades={2: 3, 3: 17, 4: 99},
    mutant_groups={(2, 0): 28, (2, 1): 17, (3, 0): 24, (3, 1): 11, (4, 0): 3, (4, 1): 1},
    t1c_mm=(1.0, 2.0, 3.0, 5.0),
    t2_mm=(2.0, 4.0, 5.0),
    flair_mm=(2.5, 3.0, 5.0),
    t1c_planes=(Plane.AXIAL, Plane.AXIAL, Plane.SAGITTAL),
    in_plane_mm=(0.9, 1.2),
    noise=(0.02, 0.06),
    bias=0.45,
    contrast_sd=0.12,
    motion=(4.0, 4.0),
)

SITES = {site.name: site for site in (SEVERANCE, SNUH, TCIA)}


def site_named(name: str) -> Site:
    """The site of that name. Raises BadInput for any other name."""
    if name not in SITES:
        raise BadInput(f"site '{name}'", "no such site", f"use {', '.join(SITES)}")
    return SITES[name]
