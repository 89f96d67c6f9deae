"""DICOM series as scanners write them, from small images, for tests; and ways to break them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from components.core.imaging.grid import Grid

SECRETS = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-4711",
    "PatientBirthDate": "19700203",
    "InstitutionName": "Saint Nowhere",
    "ReferringPhysicianName": "House^Gregory",
    "AccessionNumber": "ACC-0815",
    "StudyDescription": "Doe glioma",
    "ImageComments": "Jane called twice",
    "PatientComments": "allergic to Doe",
    "OperatorsName": "Tech^Nick",
    "StudyDate": "20200301",
    "SeriesTime": "101112.000",
    "AcquisitionTime": "101314.000",
    "StationName": "MRNOWHERE3T",
}
"""Header entries that must not survive ingestion."""

T1C = {
    "TR": 500.0, "TE": 9.0, "ScanningSequence": "SE", "ContrastBolusAgent": "Gadovist",
    "SeriesDescription": "t1_se_tra_KM Doe", "SeriesNumber": 7,
}  # fmt: skip
T1 = {**T1C, "ContrastBolusAgent": "", "SeriesDescription": "t1_se_tra", "SeriesNumber": 3}
T2 = {"TR": 4500.0, "TE": 100.0, "ScanningSequence": "SE", "SeriesDescription": "t2_tse_tra",
      "SeriesNumber": 4}  # fmt: skip
FLAIR = {"TR": 9000.0, "TE": 120.0, "TI": 2500.0, "ScanningSequence": ["SE", "IR"],
         "SeriesDescription": "tirm dark fluid", "SeriesNumber": 5}  # fmt: skip
_NAMES = {"TR": "RepetitionTime", "TE": "EchoTime", "TI": "InversionTime"}


def phantom(seed: int = 0, shape: tuple[int, int, int] = (12, 20, 18)) -> sitk.Image:
    """A small oblique int16 volume (z, y, x) without symmetry, slices 6 mm apart."""
    rng = np.random.default_rng(seed)
    array = rng.integers(1, 900, shape).astype(np.int16)
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.2, -0.1, 0.15)
    grid = Grid.make(shape[::-1], (-40.0, -55.0, 12.0), (5.0, 5.0, 6.0), turn.GetMatrix())
    return grid.image(array)


def datasets(
    image: sitk.Image, tags: dict[str, Any], *, patient: str = "MRN-4711", study: str = "1"
) -> list[Dataset]:
    """One dataset a slice, in the order of the slices, as a scanner's console would send them."""
    grid, voxels = Grid.of(image), sitk.GetArrayFromImage(image)
    axes = np.reshape(grid.direction, (3, 3))
    root = generate_uid(entropy_srcs=[patient, study])
    series = generate_uid(entropy_srcs=[patient, study, str(sorted(tags.items(), key=str))])
    frame = generate_uid(entropy_srcs=[patient, study, "frame of reference"])
    made = []
    for index in range(len(voxels)):
        item = Dataset()
        for name, value in {**SECRETS, "PatientID": patient}.items():
            setattr(item, name, value)
        item.SOPClassUID = MRImageStorage
        item.SOPInstanceUID = generate_uid(entropy_srcs=[series, str(index)])
        item.StudyInstanceUID, item.SeriesInstanceUID = root, series
        item.FrameOfReferenceUID = frame
        item.Modality, item.Manufacturer, item.PatientSex = "MR", "SIEMENS", "F"
        item.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        for name, value in tags.items():
            setattr(item, _NAMES.get(name, name), value)
        item.InstanceNumber = index + 1
        item.ImagePositionPatient = list(grid.affine[:3, :3] @ [0, 0, index] + grid.origin)
        item.ImageOrientationPatient = [*axes[:, 0], *axes[:, 1]]
        item.PixelSpacing = [grid.spacing[1], grid.spacing[0]]
        item.SliceThickness = grid.spacing[2]
        _set_pixels(item, voxels[index])
        made.append(item)
    return made


def _set_pixels(item: Dataset, values: np.ndarray) -> None:
    item.Rows, item.Columns = values.shape
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated = item.BitsStored = 16
    item.HighBit, item.PixelRepresentation = 15, 1
    item.PixelData = values.astype("<i2").tobytes()


def save(folder: Path, items: list[Dataset]) -> Path:
    """Write datasets under names that tell no order; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, item in enumerate(items):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = item.SOPClassUID
        meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
        item.file_meta = meta
        name = f"IM{(index * 7919) % 10007:05d}"
        item.save_as(folder / name, enforce_file_format=True)
    return folder


def write_series(
    folder: Path,
    image: sitk.Image,
    tags: dict[str, Any],
    change: Callable[[list[Dataset]], list[Dataset]] = list,
    **more: Any,
) -> Path:
    """Write `image` as a series, after `change` has broken it."""
    return save(folder, change(datasets(image, tags, **more)))


def enhanced(image: sitk.Image, tags: dict[str, Any], *, order: list[int] | None = None) -> Dataset:
    """The same series as one enhanced MR object, its frames in any `order`."""
    slices = datasets(image, tags)
    whole = slices[0]
    item = Dataset()
    for name in (*SECRETS, "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
                 "FrameOfReferenceUID", "Modality",
                 "Manufacturer", "PatientSex", "ImageType", "SeriesNumber", "SeriesDescription",
                 "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation",
                 "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):  # fmt: skip
        if name in whole:
            setattr(item, name, getattr(whole, name))
    item.SOPClassUID = EnhancedMRImageStorage
    words = np.atleast_1d(tags.get("ScanningSequence") or "")
    item.EchoPulseSequence = "GRADIENT" if "GR" in words else "SPIN"
    item.EchoPlanarPulseSequence = "YES" if "EP" in words else "NO"
    if tags.get("ContrastBolusAgent"):
        item.ContrastBolusAgentSequence = [_group(CodeMeaning=tags["ContrastBolusAgent"])]
    times = {"InversionTimes": [tags["TI"]]} if "TI" in tags else {}
    inverted = "YES" if "IR" in words else "NO"
    item.SharedFunctionalGroupsSequence = [
        _group(
            MRTimingAndRelatedParametersSequence=[_group(RepetitionTime=tags["TR"])],
            MREchoSequence=[_group(EffectiveEchoTime=tags["TE"])],
            MRModifierSequence=[_group(InversionRecovery=inverted, **times)],
            PlaneOrientationSequence=[
                _group(ImageOrientationPatient=whole.ImageOrientationPatient)
            ],
            PixelMeasuresSequence=[
                _group(PixelSpacing=whole.PixelSpacing, SliceThickness=whole.SliceThickness)
            ],
        )
    ]
    frames = [slices[index] for index in order or range(len(slices))]
    item.PerFrameFunctionalGroupsSequence = [
        _group(
            PlanePositionSequence=[_group(ImagePositionPatient=frame.ImagePositionPatient)],
            FrameContentSequence=[
                _group(
                    StackID="1",
                    InStackPositionNumber=frame.InstanceNumber,
                    DimensionIndexValues=[1, frame.InstanceNumber],
                )
            ],
        )
        for frame in frames
    ]
    item.DimensionIndexSequence = [
        _group(DimensionIndexPointer=tag, FunctionalGroupPointer=0x00209111)
        for tag in (0x00209056, 0x00209057)
    ]
    item.NumberOfFrames = len(frames)
    item.PixelData = b"".join(frame.PixelData for frame in frames)
    return item


def _group(**values: Any) -> Dataset:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item
