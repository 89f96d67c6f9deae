"""Which sequence a series is: by its times and its contrast agent, by its description at last."""

from __future__ import annotations

import re
from dataclasses import dataclass

from components.cohort.dicom.headers import Instance
from components.cohort.dicom.selection.contrast_agent import agent_given
from components.cohort.dicom.stacks import derived_kind
from components.core.vocabulary import Sequence

LONG_TE_MS = 60.0
"""Echo times from here on weight by T2."""
SHORT_TE_MS = 40.0
"""Echo times below weight by T1 or proton density."""
SHORT_TR_MS = 1300.0
"""Spin echoes with a shorter repetition are T1-weighted."""
FLUID_TI_MS = (1400.0, 3200.0)
"""Inversion times that null the fluid, at 1.5 and 3 T."""
T1_TI_MS = (300.0, 1350.0)
"""Inversion times that weight by T1 (MPRAGE, T1-FLAIR)."""

_NO_ANATOMY = {"ADC", "FA", "TRACEW", "DIFFUSION", "PERFUSION", "MIP", "PROJECTION IMAGE", "MINIP",
               "SUBTRACTION", "SUBTRACT", "SUB", "T2 STAR", "FMRI", "LOCALIZER", "T1 MAP",
               "T2 MAP", "T2_STAR MAP", "SCREEN SAVE", "MOSAIC"}  # fmt: skip
"""Values of ImageType that no magnitude image of a head has."""
_REFORMATTED = {"MPR", "REFORMATTED", "CSA MPR", "CSAPARALLEL"}
_OTHER = re.compile(
    r"(?<![a-z])([de]?adc|\w*dwi|dti|diff|diffusion|tracew?|b ?=? ?\d{2,}|b0|perf|perfusion|pwi|"
    r"dsc|dce|asl|\w*cb[fv]|mtt|ttp|t-?max|k-?trans|kep|i?auc|leakage|dyn\w*|twist|swi|swan|mip|subs?|"
    r"subtract\w*|subtr|minus|post ?- ?pre|mpr|reformat\w*|curved|fat[ -]?only|water[ -]?only|"
    r"fat[ -]?fraction|loc|localiser|localizer|scout|survey|spectroscopy|mrs|angio|tof|phase|fmri|"
    r"bold|t2\*|t2star|hemo|mtr|maps?|\w*mapping|phantom|qa|opp\w*phase|out[ -]?of[ -]?phase|"
    r"outphase|dixon\w*([ -].*)?[ -](fat(?![ -]?s)|water|opp|out|"
    r"[wf](?! *(gad|gd|con|c\b|km|post))))(?![a-z])|^(fat|water):",
    re.IGNORECASE,
)
_OTHER_REGION = re.compile(
    r"(?<![a-z])([ctl][ -]?spine|[ct/l]+[ -]spine|spine|spinal|cervical|thoracic|lumbar|sacr\w*|"
    r"t[hls]+[ -]?spine|hws|bws|lws|wirbel\w*|rachis|colonne|columna|colonna|myelo\w*|neck|hals|"
    r"knee|shoulder|hip|pelvis|abdomen|liver|prostate|breast|cardiac|heart|chest|thorax|"
    r"[ctl]spine|lspine|wholespine|total[ -]?spine|orbit\w*|iac|auditory|inner[ -]?ear|sella|"
    r"pituitary|hypophys\w*|tmj)(?![a-z])",
    re.IGNORECASE,
)
"""Body parts beside the whole brain, in series descriptions, protocols and BodyPartExamined."""
_HEAD = re.compile(
    r"(?<![a-z])(brain|head|skull|neuro|kopf|hirn|schaedel|cerveau|tete|cranio?)(?![a-z])",
    re.IGNORECASE,
)
_FLAIR = re.compile(r"flair|tirm|dark[ _-]?fluid", re.IGNORECASE)
_T2 = re.compile(r"(?<![a-z0-9])t2", re.IGNORECASE)
_T1 = re.compile(r"(?<![a-z0-9])t1|mp-?rage|spgr|bravo|tfe|mprage", re.IGNORECASE)
_WITH = re.compile(
    r"(?<![a-z])(post|gad\w*|gd|ce|km|contrast|enh\w*|mdc)(?![a-z])|\+\s*(c|gd|gad)\b|c/c\b|t1gd|t1ce|t1c\b",
    re.IGNORECASE,
)
_WITHOUT = re.compile(
    r"((?<![a-z])(pre|non?|without|w/o|wo|unenh\w*|native|sans|ohne|vor|avant|before|prima|antes|s/c)"
    r"(?![a-z])|(?<!\S)-\s?c(?![a-z]))([ -]*(di|del|de|du|contrast\w*|gad\w*|gd|km|mdc))*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Verdict:
    """What a series is, and why.

    Attributes:
        sequence: None for what no model here uses.
        reason: in words, with the header's values.
        by_headers: False where only the description told.
        doubtful: the header and the description contradict each other.
    """

    sequence: Sequence | None
    reason: str
    by_headers: bool = True
    doubtful: bool = False


def sequence_type(header: Instance) -> Verdict:
    """Judge one series by the header of one of its images."""
    excluded = _excluded(header)
    if excluded:
        return Verdict(None, excluded)
    if header.te is None or (header.tr is None and header.ti is None):
        return _by_description(header)
    echo = f"TE {header.te:g} ms" + (f", TR {header.tr:g} ms" if header.tr is not None else "")
    inversion = f", TI {header.ti:g} ms" if header.ti else ""
    if header.te >= LONG_TE_MS:
        return _long_echo(header, echo + inversion)
    if header.te < SHORT_TE_MS and _is_t1(header):
        return _t1(header, echo + inversion)
    return Verdict(None, f"neither T1- nor T2-weighted ({echo}{inversion})")


def has_agent(header: Instance) -> bool:
    """Whether the header names a contrast agent that was given."""
    return header.agent_volume != 0.0 and agent_given(header.agent) is True


def named_with(header: Instance) -> bool:
    """Whether the description says that contrast agent was given."""
    described = header.description.replace("_", " ")
    return bool(_WITH.search(_WITHOUT.sub("", described)))


def named_without(header: Instance) -> bool:
    """Whether the description says that none was, and not also the contrary."""
    described = header.description.replace("_", " ")
    return bool(_WITHOUT.search(described)) and not named_with(header)


def no_anatomy(header: Instance) -> str:
    """Why the header of an image says that it is no magnitude image of anatomy; empty else."""
    if header.b_value:
        return f"diffusion (b = {header.b_value:g})"
    if "EP" in header.scanning or re.match(r"\*?ep", header.sequence_name, re.IGNORECASE):
        return "echo-planar: diffusion, perfusion or function"
    word = next((w for w in header.image_type if w in _NO_ANATOMY), None)
    return f"image type {word}" if word else ""


def _excluded(header: Instance) -> str:
    if header.modality != "MR":
        return f"not MRI (modality {header.modality or 'missing'})"
    told = no_anatomy(header)
    if told:
        return told
    word = next((w for w in header.image_type if w in _REFORMATTED), None)
    if word:
        return f"image type {word}"
    kind = derived_kind(header)
    if kind and kind != "in phase":
        return f"a {kind} image"
    if header.image_type[:2] == ("DERIVED", "SECONDARY"):
        return "derived from other images (image type DERIVED, SECONDARY)"
    region = _other_region(header)
    if region:
        return f"not the brain ('{region}')"
    named = _OTHER.search(header.description.replace("_", " "))
    return f"named '{named[0]}'" if named else ""


def _other_region(header: Instance) -> str:
    """The body part that a header names beside the brain; the description has the last word."""
    body, _, protocol = header.region.partition(" ")
    for text in (header.description, protocol, body):
        told = text.replace("_", " ")
        if _HEAD.search(told):
            return ""
        found = _OTHER_REGION.search(told)
        if found:
            return found[0]
    return ""


def _long_echo(header: Instance, times: str) -> Verdict:
    low, high = FLUID_TI_MS
    if header.ti and low <= header.ti <= high:
        return Verdict(Sequence.FLAIR, f"long echo with inverted fluid ({times})")
    if header.ti:
        return Verdict(None, f"long echo with an inversion that nulls no fluid ({times})")
    if "IR" in header.scanning or _FLAIR.search(header.description):
        told = "scanning sequence IR" if "IR" in header.scanning else "named FLAIR"
        return Verdict(Sequence.FLAIR, f"long echo, {told} ({times})", "IR" in header.scanning)
    if "GR" in header.scanning and "SE" not in header.scanning:
        return Verdict(None, f"gradient echo with a long echo: susceptibility ({times})")
    return Verdict(Sequence.T2, f"long echo without inversion ({times})")


def _is_t1(header: Instance) -> bool:
    if header.ti:
        return T1_TI_MS[0] <= header.ti <= T1_TI_MS[1]
    gradient = "GR" in header.scanning and "SE" not in header.scanning
    return gradient or (header.tr is not None and header.tr < SHORT_TR_MS)


def _t1(header: Instance, times: str) -> Verdict:
    described = header.description.replace("_", " ")
    if has_agent(header):
        reason = f"T1-weighted with contrast agent in the header ({times})"
        if named_without(header):
            return Verdict(
                Sequence.T1C, f"{reason}, though named as without contrast", doubtful=True
            )
        return Verdict(Sequence.T1C, reason)
    if named_with(header) and not _WITHOUT.search(described):
        if header.agent and agent_given(header.agent) is False:
            reason = f"T1-weighted ({times}), named as with contrast, though its header says none"
            return Verdict(Sequence.T1C, reason, False, doubtful=True)
        return Verdict(Sequence.T1C, f"T1-weighted ({times}), named as with contrast", False)
    if header.agent and agent_given(header.agent) is None and not named_without(header):
        reason = f"T1-weighted ({times}), with an agent in the header that is not known"
        return Verdict(Sequence.T1C, reason, doubtful=True)
    return Verdict(None, f"T1-weighted without contrast agent ({times})")


def _by_description(header: Instance) -> Verdict:
    described = header.description.replace("_", " ")
    silent = "header without echo and repetition time"
    if _FLAIR.search(described) and not _T1.search(described):
        return Verdict(Sequence.FLAIR, f"{silent}, named FLAIR", False)
    if _T1.search(described):
        agent = has_agent(header)
        if agent or (_WITH.search(described) and not _WITHOUT.search(described)):
            return Verdict(Sequence.T1C, f"{silent}, named T1 with contrast", False)
        return Verdict(None, f"{silent}, named T1 without contrast")
    if _T2.search(described):
        return Verdict(Sequence.T2, f"{silent}, named T2", False)
    return Verdict(None, f"{silent}, and a name that tells nothing")


_WORDS = """
    ax axial sag sagittal cor coronal 2d 3d iso brain head t1 t1w t1c t1gd t1ce t2 t2w t2* flair
    tirm dark fluid tse fse se gre spgr fspgr bravo mprage mp rage tfe space cube vista vibe stir ir
    pd propeller blade fs fat sat fatsat pre post gad gado gd ce c km contrast with without wo non
    dwi adc dti diff trace perf perfusion dsc dce asl swi swan loc localizer scout survey mip sub
"""
"""Words of a series description that may be kept: it is free text, and may hold a name."""


def clean_description(text: str) -> str:
    """The words of a description that name a technique; whatever else stands there is dropped."""
    words, known = re.findall(r"[a-z0-9*]+", text.lower()), _WORDS.split()
    return " ".join(word for word in words if word in known)
