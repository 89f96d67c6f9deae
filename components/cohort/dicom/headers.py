"""What is read of each DICOM file: enough to judge, group and order it, and nothing to keep."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from components.cohort.dicom import multiframe as enhanced
from components.cohort.images import is_dicom

# It would print values that break DICOM's rules, and a name may be among them; and a line for each
# text of each file that is not of its character set.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pydicom")

_TAGS = (
    "PatientID",
    "PatientAge",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "SOPInstanceUID",
    "Modality",
    "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "BitsAllocated",
    "NumberOfFrames",
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "ContrastBolusAgent",
    "ScanningSequence",
    "SequenceName",
    "DiffusionBValue",
    "AcquisitionNumber",
    "AcquisitionTime",
    "SeriesTime",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "ComplexImageComponent",
    "BodyPartExamined",
    "ProtocolName",
    "ContrastBolusVolume",
    "SpacingBetweenSlices",
    "SliceThickness",
    "LossyImageCompression",
    *enhanced.TAGS,
)


_LOSSY = {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless}
MAX_NUMBER = 1e9
"""Numbers beyond it are damage."""


@dataclass(frozen=True)
class Instance:
    """One image of a series, as its header describes it; numbers are None where it is silent.

    Attributes:
        tr, te, ti: repetition, echo and inversion time in ms.
        position: LPS mm of the first voxel's centre; orientation: row and column cosines.
        spacing: mm between rows, between columns.
        uid: tells images apart, and the frames of one.
        frames: how many the file has; each of an enhanced (multi-frame) object is an Instance.
        whole: False where the file is shorter than its pixels.
        plain: False where dcm2niix cannot read the file as it is (deflated, or no preamble).
        born: birth date as written; time: of the acquisition or the series, HHMMSS.
        acquisition, echo, temporal: numbers that tell volumes of one series apart, as text.
        component: ComplexImageComponent; region: body part and protocol, as written.
        lossy: whether it is, or ever was, compressed with loss.
        agent_volume: ml of contrast agent; slice_spacing: mm between slices, as the header says.
    """

    path: Path
    patient: str
    age: float | None
    sex: str
    study: str
    date: str
    series: str
    number: int
    uid: str
    modality: str
    image_type: tuple[str, ...]
    description: str
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    size: tuple[int, int]
    frames: int
    whole: bool
    tr: float | None
    te: float | None
    ti: float | None
    agent: str
    scanning: tuple[str, ...]
    sequence_name: str
    b_value: float | None
    plain: bool
    born: str
    time: str
    acquisition: str
    echo: str
    temporal: str
    component: str
    region: str
    agent_volume: float | None
    slice_spacing: float | None
    thickness: float | None
    lossy: bool


def read_instances(files: Iterable[Path]) -> tuple[list[Instance], int]:
    """Headers of the DICOM images among `files`, a frame each, and how many are none or damaged."""
    found: list[Instance] = []
    others = 0
    for path in files:
        try:
            images = _read(path)
        except Exception:  # pydicom meets a damaged header with whatever its parser stumbles over
            images = []
        found.extend(images)
        others += not images
    return found, others


def _read(path: Path) -> list[Instance]:
    if not is_dicom(path):
        return []
    with path.open("rb") as stream:
        header = pydicom.dcmread(
            stream, stop_before_pixels=True, specific_tags=list(_TAGS), force=True
        )
        rest = path.stat().st_size - stream.tell()
    if not header.get("Rows") or not header.get("SeriesInstanceUID"):
        return []
    frames = enumerate(enhanced.frames_of(header))
    return [_instance(path, frame, index, rest) for index, frame in frames]


def _instance(path: Path, header: pydicom.Dataset, index: int, rest: int) -> Instance:
    """`index`: 0-based frame in the file; `rest`: bytes of the file from its pixels on."""
    rows, columns = int(header.Rows), int(header.get("Columns") or 0)
    frames = int(header.get("NumberOfFrames") or 1)
    return Instance(
        path=path,
        patient=_text(header, "PatientID"),
        age=_age(header),
        sex=_text(header, "PatientSex").upper(),
        study=_text(header, "StudyInstanceUID"),
        date=_text(header, "StudyDate"),
        series=_text(header, "SeriesInstanceUID"),
        number=int(_number(header, "SeriesNumber") or 0),
        uid=f"{_text(header, 'SOPInstanceUID')} {index}",
        modality=_text(header, "Modality"),
        image_type=tuple(_words(header, "ImageType")),
        description=_text(header, "SeriesDescription"),
        position=_numbers(header, "ImagePositionPatient", 3),
        orientation=_numbers(header, "ImageOrientationPatient", 6),
        spacing=_numbers(header, "PixelSpacing", 2),
        size=(rows, columns),
        frames=frames,
        whole=_is_whole(header, rest, rows * columns * frames),
        tr=_number(header, "RepetitionTime"),
        te=_number(header, "EchoTime"),
        ti=_number(header, "InversionTime"),
        agent=_text(header, "ContrastBolusAgent"),
        scanning=tuple(_words(header, "ScanningSequence")),
        sequence_name=_text(header, "SequenceName"),
        b_value=_number(header, "DiffusionBValue"),
        plain=_is_plain(header),
        born=_text(header, "PatientBirthDate"),
        time=_text(header, "AcquisitionTime") or _text(header, "SeriesTime"),
        acquisition=_text(header, "AcquisitionNumber"),
        echo=_text(header, "EchoNumbers"),
        temporal=_text(header, "TemporalPositionIdentifier"),
        component=_text(header, "ComplexImageComponent").upper(),
        region=" ".join(_text(header, n) for n in ("BodyPartExamined", "ProtocolName")),
        agent_volume=_number(header, "ContrastBolusVolume"),
        slice_spacing=_number(header, "SpacingBetweenSlices"),
        thickness=_number(header, "SliceThickness"),
        lossy=_is_lossy(header),
    )


def _is_plain(header: pydicom.Dataset) -> bool:
    syntax = header.file_meta.get("TransferSyntaxUID")
    return bool(header.preamble) and syntax is not None and not syntax.is_deflated


def _is_lossy(header: pydicom.Dataset) -> bool:
    syntax = header.file_meta.get("TransferSyntaxUID")
    return _text(header, "LossyImageCompression") == "01" or syntax in _LOSSY


def _is_whole(header: pydicom.Dataset, rest: int, voxels: int) -> bool:
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None or syntax.is_compressed or syntax.is_deflated:
        return True
    return rest >= voxels * int(header.get("BitsAllocated") or 16) // 8


def _text(header: pydicom.Dataset, name: str) -> str:
    return str(header.get(name) or "").strip()


def _words(header: pydicom.Dataset, name: str) -> list[str]:
    value = header.get(name) or []
    return [str(v).strip().upper() for v in ([value] if isinstance(value, str) else value)]


def _number(header: pydicom.Dataset, name: str) -> float | None:
    value: Any = header.get(name)
    try:
        return None if value in (None, "") else _plausible(float(value))
    except (TypeError, ValueError):
        return None


def _numbers(header: pydicom.Dataset, name: str, count: int) -> tuple[float, ...] | None:
    try:
        values = [_plausible(float(value)) for value in header.get(name) or ()]
    except (TypeError, ValueError):
        return None
    return tuple(values) if len(values) == count else None


def _plausible(value: float) -> float:
    """Raises ValueError for what is no number of a scanner's: infinite, NaN or beyond 10^9."""
    if not abs(value) < MAX_NUMBER:
        raise ValueError("not a scanner's number")
    return value


def _age(header: pydicom.Dataset) -> float | None:
    """Years at the study: PatientAge in years, else from the dates; None where neither is there."""
    given = _text(header, "PatientAge")
    if given[:-1].isdigit() and given.endswith("Y"):
        return float(given[:-1])
    born, seen = _text(header, "PatientBirthDate"), _text(header, "StudyDate")
    if len(born) == len(seen) == 8 and (born + seen).isdigit():
        before_birthday = seen[4:] < born[4:]
        return float(int(seen[:4]) - int(born[:4]) - before_birthday)
    return None
