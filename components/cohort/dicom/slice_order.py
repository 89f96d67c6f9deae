"""Whether the images of a series stack up to one volume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence as Several

import numpy as np

from components.cohort.dicom.headers import Instance
from components.core.errors import BadInput
from components.core.imaging.grid import Grid

MIN_SLICES = 3
"""Fewer is a localiser or a still picture, not a volume."""
LOCALISER_IMAGES = 3
"""Most images of one plane, size and voxel that a localiser in a series has."""
SAME_POSITION_MM = 0.01
"""Images closer along the normal lie at one position."""
MAX_SHIFT_MM = 1.0
"""In-plane drift over the whole stack above which it is sheared: a tilted gantry."""
UNEVEN = 0.1
"""Deviation from the median slice distance, as a share of it, above which slices are uneven."""
ROUNDING_MM = 0.2
"""Deviation from the median that is accepted of any stack: positions rounded to 0.1 mm."""
MISSING = 1.5
"""Slice distance, in medians, from which slices are missing."""


def order_stack(name: object, images: Several[Instance]) -> tuple[list[Instance], list[str]]:
    """The images from one end of the stack to the other, and what a reader should know.

    The same image stored twice is left out, with a note.

    Raises:
        BadInput: `name` as its subject; the images are no even, straight, whole stack.
    """
    unique = list({image.uid: image for image in sorted(images, key=lambda i: i.path)}.values())
    notes = []
    if len(unique) < len(images):
        notes.append(f"{len(images) - len(unique)} images stored twice were left out")
    if any(image.lossy for image in unique):
        notes.append("compressed with loss: fine detail may be missing")
    try:
        return _ordered(name, unique), notes
    except BadInput:
        kept = _without_localiser(unique)
        if len(kept) == len(unique):
            raise
        try:
            ordered = _ordered(name, kept)
        except BadInput:
            ordered = []
        if not ordered:
            raise
    notes.append(f"{len(unique) - len(kept)} localiser images in it were left out")
    return ordered, notes


def _ordered(name: object, images: list[Instance]) -> list[Instance]:
    _refuse_odd_images(name, images)
    normal = _common_normal(name, images)
    positions = np.array([image.position for image in images], dtype=float)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    _refuse_repeats(name, along[order])
    _refuse_tilt(name, positions[order], along[order], normal)
    _refuse_gaps(name, np.diff(along[order]))
    _refuse_thinned(name, images[0], float(np.median(np.diff(along[order]))))
    return [images[index] for index in order]


def _without_localiser(images: list[Instance]) -> list[Instance]:
    """The images but for a few of another plane, size or voxel, where there are few."""
    groups: dict[tuple[object, ...], list[Instance]] = defaultdict(list)
    for image in images:
        plane = tuple(np.round(image.orientation or (), 1) + 0.0)
        groups[plane, image.size, tuple(np.round(image.spacing or (), 3))].append(image)
    largest = max(groups.values(), key=len)
    others = [group for group in groups.values() if group is not largest]
    few = all(len(group) <= LOCALISER_IMAGES for group in others)
    return largest if few and len(largest) >= 0.5 * len(images) else images


def _refuse_odd_images(name: object, images: Several[Instance]) -> None:
    short = sum(not image.whole for image in images)
    if short:
        raise BadInput(name, f"{short} of its files are cut short", "export the series again")
    if any(image.frames > 1 and image.position is None for image in images):
        raise BadInput(
            name,
            "a multi-frame object that does not say where its frames lie",
            "export it as enhanced or as classic MR, or convert it to NIfTI",
        )
    if len(images) < MIN_SLICES:
        raise BadInput(name, f"only {len(images)} slices", "give the whole series")
    if any(image.position is None or image.orientation is None for image in images):
        raise BadInput(name, "images without position or orientation", "export the original series")
    if any(image.spacing is None or min(image.spacing) <= 0 for image in images):
        raise BadInput(name, "images without pixel spacing", "export the original series")
    shapes = {(image.size, tuple(np.round(image.spacing or (), 4))) for image in images}
    if len(shapes) > 1:
        raise BadInput(
            name, "slices of different sizes or pixel spacings", "export each acquisition by itself"
        )


def _common_normal(name: object, images: Several[Instance]) -> np.ndarray:
    """Unit normal (LPS) of all slices."""
    axes = np.array([image.orientation for image in images], dtype=float)
    if np.abs(axes - axes[0]).max() > 1e-3:
        raise BadInput(
            name, "slices of different orientations in one series", "export each plane by itself"
        )
    normal = np.cross(axes[0, :3], axes[0, 3:])
    length = np.linalg.norm(normal)
    if not 0.99 < length < 1.01:
        raise BadInput(name, "row and column axes that are not square", "export the series again")
    return normal / length


def _refuse_repeats(name: object, along: np.ndarray) -> None:
    places = 1 + int((np.diff(along) > SAME_POSITION_MM).sum())
    if places == len(along):
        return
    if places > 1 and len(along) % places == 0:
        raise BadInput(
            name,
            f"{len(along) // places} different images at each position: several acquisitions",
            "export each acquisition as its own series",
        )
    raise BadInput(
        name,
        f"{len(along)} different images at {places} positions: slices are duplicated",
        "export the series again, each slice once",
    )


def _refuse_tilt(
    name: object, positions: np.ndarray, along: np.ndarray, normal: np.ndarray
) -> None:
    drift = positions - positions[0] - np.outer(along - along[0], normal)
    shift = float(np.linalg.norm(drift, axis=1).max())
    if shift > MAX_SHIFT_MM:
        angle = np.degrees(np.arctan2(shift, along[-1] - along[0]))
        raise BadInput(
            name,
            f"slices shifted by up to {shift:.0f} mm in their plane: a gantry tilt of {angle:.0f}°",
            "resample it to a straight stack, or give another series",
        )


def _refuse_gaps(name: object, distances: np.ndarray) -> None:
    usual = float(np.median(distances))
    missing = int(np.rint(distances / usual - 1)[distances > MISSING * usual].sum())
    if missing:
        raise BadInput(name, f"{missing} slices are missing in between", "export the whole series")
    if np.abs(distances - usual).max() > max(UNEVEN * usual, min(ROUNDING_MM, 0.4 * usual)):
        low, high = distances.min(), distances.max()
        raise BadInput(
            name, f"slice distances from {low:.2f} to {high:.2f} mm", "give an evenly spaced series"
        )


def _refuse_thinned(name: object, image: Instance, usual: float) -> None:
    """Every second slice lost leaves an even stack: what the header says of distances tells.

    SpacingBetweenSlices alone does not, for it holds the gap in some scanners' files, and other
    numbers in others'.
    """
    told, thick = abs(image.slice_spacing or 0.0), image.thickness or 0.0
    if not thick or told < 0.9 * thick:
        return
    share = usual / told
    if round(share) >= 2 and abs(share - round(share)) < UNEVEN and usual > MISSING * thick:
        raise BadInput(
            name,
            f"slices {usual:.1f} mm apart, though the header says {told:g}: every "
            f"{round(share)}. is there",
            "export the whole series",
        )


def stack_grid(ordered: Several[Instance]) -> Grid:
    """Grid of a stack that `order_stack` has judged."""
    first, last = ordered[0], ordered[-1]
    assert first.position and last.position and first.orientation and first.spacing
    row, column = np.reshape(first.orientation, (2, 3))
    axes = np.stack([row, column, np.cross(row, column)], axis=1)
    reach = np.subtract(last.position, first.position) @ axes[:, 2]
    between_rows, between_columns = first.spacing
    return Grid.make(
        (first.size[1], first.size[0], len(ordered)),
        first.position,
        (between_columns, between_rows, reach / (len(ordered) - 1)),
        axes.ravel(),
    )


def rounding_mm(ordered: Several[Instance]) -> float:
    """How far the slices of an ordered stack lie from even distances; 0 where by float noise."""
    along = np.linalg.norm(
        [np.subtract(image.position or 0, ordered[0].position or 0) for image in ordered], axis=1
    )
    apart = float(np.abs(along - np.linspace(0, along[-1], len(along))).max())
    return apart if apart > SAME_POSITION_MM else 0.0
