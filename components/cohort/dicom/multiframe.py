"""Enhanced (multi-frame) objects: each frame's header, in the words of classic DICOM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydicom import Dataset

TAGS = (
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ContrastBolusAgentSequence",
    "EchoPulseSequence",
    "EchoPlanarPulseSequence",
    "PulseSequenceName",
)
"""What is read of an enhanced object beside a classic image's tags."""

_PULSES = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}
_PLACES = {
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
    "ImageType": ("MRImageFrameTypeSequence", "FrameType"),
}
"""Classic keyword -> functional group, and the keyword in it."""


def frames_of(header: Dataset) -> Iterator[Dataset]:
    """A classic header a frame; `header` itself where it is no enhanced object.

    Pixels are not touched.
    """
    own = header.get("PerFrameFunctionalGroupsSequence")
    if not own:
        yield header
        return
    shared = next(iter(header.get("SharedFunctionalGroupsSequence") or ()), Dataset())
    for groups in own:
        yield _flat(header, [groups, shared])


def _flat(header: Dataset, groups: list[Dataset]) -> Dataset:
    flat = Dataset()
    flat.file_meta, flat.preamble = header.file_meta, header.preamble
    for element in header:
        if element.VR != "SQ":
            flat.add_new(element.tag, element.VR, element.value)
    for name, (group, keyword) in _PLACES.items():
        value = _of(groups, group, keyword)
        if value not in (None, ""):
            # Several inversions of one frame: the first one weights it.
            several = name == "InversionTime" and not isinstance(value, int | float | str)
            setattr(flat, name, value[0] if several else value)
    flat.ScanningSequence = _scanning(header, groups)
    flat.SequenceName = str(header.get("PulseSequenceName") or "")[:16]
    flat.ContrastBolusAgent = _agent(header, groups)
    return flat


def _of(groups: list[Dataset], group: str, keyword: str) -> Any:
    """A value from the frame's own functional groups, or else from the shared ones."""
    for place in groups:
        for item in place.get(group) or ():
            value = item.get(keyword)
            if value is not None:
                return value
    return None


def _scanning(header: Dataset, groups: list[Dataset]) -> list[str]:
    words = list(_PULSES.get(str(header.get("EchoPulseSequence") or ""), []))
    if _of(groups, "MRModifierSequence", "InversionRecovery") == "YES":
        words.append("IR")
    if header.get("EchoPlanarPulseSequence") == "YES":
        words.append("EP")
    return words


def _agent(header: Dataset, groups: list[Dataset]) -> str:
    """The agent's name; empty where none was given, or not yet given at this frame."""
    if _of(groups, "ContrastBolusUsageSequence", "ContrastBolusAgentAdministered") == "NO":
        return ""
    named = [str(i.get("CodeMeaning") or "named") for i in header.get(TAGS[2]) or ()]
    return (named or [str(header.get("ContrastBolusAgent") or "")])[0][:64]
