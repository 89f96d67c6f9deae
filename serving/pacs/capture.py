"""The judged slices as secondary captures, for viewers of neither segmentations nor reports."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from highdicom.sc import SCImage
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from scipy.ndimage import binary_erosion

from components.cohort.dicom.objects.source_series import MAKER, SourceSeries, derived_uid
from components.core.imaging.grid import Grid, resample
from components.core.vocabulary import SLICE_TITLES, Status
from components.release.prediction import Prediction

SERIES_NUMBER = 902
SERIES_DESCRIPTION = "glioflow slices: research use only"
BANNER = "RESEARCH USE ONLY"

PIXELS = 512
OUTLINE = (255, 176, 0)
INK = (242, 244, 245)
WINDOW = (1.0, 99.5)
"""Percentiles of the image shown black and white."""
NO_TUMOR_SLICES = (0.3, 0.42, 0.54, 0.66, 0.78)
"""Shares of the box's height at which slices are shown where none were judged."""
_TEXT_PIXELS = 16
_MARGIN = 8


def captures(
    source: SourceSeries,
    prediction: Prediction,
    t1c: sitk.Image,
    mask: sitk.Image | None,
    answer_uid: str,
) -> list[SCImage]:
    """One image a slice: the T1C, the outline and the answer burnt in; nothing that names anybody.

    Args:
        source, t1c: the T1C series, and its voxels.
        mask: on the T1C's grid; None where nothing could be outlined.
        answer_uid: as of `serving.pacs.answer`; the images' UIDs are derived from it.
    """
    grids = slice_grids(prediction, t1c)
    voxels = sitk.GetArrayFromImage(t1c)
    low, high = np.percentile(voxels, WINDOW)
    made = []
    for index, grid in enumerate(grids):
        values = resample(voxels, Grid.of(t1c), grid)[0]
        inside = np.zeros(values.shape, bool)
        if mask is not None:
            moved = resample(sitk.GetArrayFromImage(mask), Grid.of(mask), grid, nearest=True)
            inside = moved[0] > 0
        shown = np.clip((values - low) / max(high - low, 1e-6), 0.0, 1.0)
        picture = burnt_in(shown, inside, _lines(prediction, grid, index, len(grids)))
        made.append(_capture(source, prediction, picture, grid, index, answer_uid))
    return made


def slice_grids(prediction: Prediction, t1c: sitk.Image) -> list[Grid]:
    """Where the pictures lie: square, one slice each, x to the patient's left and y to the back.

    The five judged slices of the network grid; slices spread over it where none was judged; the
    T1C's middle axial slice where it could not be prepared.
    """
    told = prediction.preprocessing.grid
    if told is None:
        whole = Grid.of(sitk.DICOMOrient(t1c, "LPS"))
        return [_square(whole, (whole.size[2] - 1) // 2)]
    grid = Grid.from_json(told)
    spread = [int(share * grid.size[2]) for share in NO_TUMOR_SLICES]
    return [_square(grid, z) for z in prediction.slice_indices or spread]


def _square(grid: Grid, z: int) -> Grid:
    """Slice z of a grid at PIXELS a side, centred on it."""
    extent = np.asarray(grid.size[:2]) * np.asarray(grid.spacing[:2])
    pixel = float(extent.max()) / PIXELS
    axes = np.reshape(grid.direction, (3, 3))
    middle = grid.affine @ [(grid.size[0] - 1) / 2, (grid.size[1] - 1) / 2, z, 1.0]
    corner = middle[:3] - (axes[:, 0] + axes[:, 1]) * pixel * (PIXELS - 1) / 2
    return Grid.make((PIXELS, PIXELS, 1), corner, (pixel, pixel, grid.spacing[2]), grid.direction)


def burnt_in(shown: np.ndarray, inside: np.ndarray, lines: list[str]) -> np.ndarray:
    """A picture, uint8 (rows, columns, 3): grey values in 0 to 1, an outline, and text.

    Args:
        lines: from the top; the banner stands below, sides left and right.
    """
    grey = np.rint(255 * shown).astype(np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    rgb[inside & ~binary_erosion(inside, iterations=2)] = OUTLINE
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(_TEXT_PIXELS)
    height, width = shown.shape

    def write(x: int, y: int, text: str, anchor: str, ink: tuple[int, int, int]) -> None:
        draw.text((x, y), text, ink, font, anchor, stroke_width=2, stroke_fill=(0, 0, 0))

    for row, line in enumerate(lines):
        write(_MARGIN, _MARGIN + row * (_TEXT_PIXELS + 4), line, "la", INK)
    write(width // 2, height - _MARGIN, BANNER, "md", OUTLINE)
    write(_MARGIN, height // 2, "R", "lm", INK)
    write(width - _MARGIN, height // 2, "L", "rm", INK)
    return np.asarray(image)


def _lines(prediction: Prediction, grid: Grid, index: int, count: int) -> list[str]:
    said = {
        Status.OK: f"P(IDH mutant) {prediction.probability_idh_mutant or 0.0:.2f}",
        Status.NO_TUMOR: "no tumour found",
        Status.ABSTAIN: "NO ANSWER: the model abstains",
    }[prediction.status]
    if prediction.status is Status.OK:
        said += f", tumour {prediction.tumor_volume_ml or 0.0:.1f} ml"
    middle = grid.affine @ [(PIXELS - 1) / 2, (PIXELS - 1) / 2, 0.0, 1.0]
    place = (
        f"slice {index + 1} of {count}, {'S' if middle[2] >= 0 else 'I'} {abs(middle[2]):.1f} mm"
    )
    if prediction.slice_indices:
        place += f", {SLICE_TITLES[index]}"
    reason = [prediction.reason.sentence[:60]] if prediction.reason else []
    return [said, *reason, place, f"{prediction.release}, trained on {prediction.trained_on}"]


def _capture(
    source: SourceSeries,
    prediction: Prediction,
    picture: np.ndarray,
    grid: Grid,
    index: int,
    answer_uid: str,
) -> SCImage:
    made = SCImage.from_ref_dataset(
        ref_dataset=source.headers[0],
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=derived_uid("captures", answer_uid),
        series_number=SERIES_NUMBER,
        sop_instance_uid=derived_uid(f"capture {index}", answer_uid),
        instance_number=index + 1,
        manufacturer=MAKER,
        patient_orientation=("L", "P"),
        pixel_spacing=(grid.spacing[1], grid.spacing[0]),  # type: ignore[arg-type]
        series_description=SERIES_DESCRIPTION,
    )
    made.ManufacturerModelName = MAKER
    made.SoftwareVersions = made.DeviceSerialNumber = prediction.release
    made.BodyPartExamined = "BRAIN"
    made.BurnedInAnnotation = "NO"  # nothing of it says who the patient is (PS3.3 C.7.6.1.1)
    made.ImageComments = prediction.intended_use
    made.DerivationDescription = "Axial slice of the source series with the outline of the tumour"
    made.SourceImageSequence = [_reference(header) for header in source.headers]
    return made


def _reference(header: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return item
