"""A series is not one volume: its images taken apart into stacks, and halves put together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Several
from itertools import combinations

import numpy as np

from components.cohort.dicom.headers import Instance
from components.cohort.dicom.slice_order import MIN_SLICES, SAME_POSITION_MM, order_stack
from components.core.errors import BadInput

_KINDS = {
    "phase": {"P", "PHASE", "PHASE MAP", "PHASE_MAP", "P_SE", "P_FFE", "P_IR"},
    "real": {"R", "REAL", "R_SE", "R_FFE"},
    "imaginary": {"I", "IMAGINARY", "I_SE", "I_FFE"},
    "Dixon water": {"W", "WATER", "DIXON_WATER"},
    "Dixon fat": {"F", "FAT", "DIXON_FAT", "FAT_FRACTION", "FF"},
    "opposed phase": {"OP", "OPP_PHASE", "OUT_PHASE", "OPPOSED_PHASE", "OUT_OF_PHASE"},
    "in phase": {"IP", "IN_PHASE"},
}
NO_MAGNITUDE = ("phase", "real", "imaginary", "Dixon fat", "opposed phase")
"""Kinds that are read as a brain's image on no road."""
_COMPONENTS = {"PHASE": "phase", "REAL": "real", "IMAGINARY": "imaginary"}

Key = Callable[[Instance], object]

_KEYS: tuple[Key, ...] = (
    lambda image: image.temporal,
    lambda image: image.echo,
    lambda image: image.acquisition,
    lambda image: image.image_type,
    lambda image: image.te,
    lambda image: image.ti,
)
"""What tells volumes of one series apart, in the order in which it is tried."""


def derived_kind(image: Instance) -> str:
    """What an image is instead of a plain magnitude: "phase", "Dixon water" ...; else empty."""
    if image.component in _COMPONENTS:
        return _COMPONENTS[image.component]
    # The first two values say how the image came about, and its class.
    words = set(image.image_type[2:]) | {w for w in image.image_type[:2] if len(w) > 2}
    return next((kind for kind, names in _KINDS.items() if words & names), "")


def by_series(images: Iterable[Instance]) -> list[list[Instance]]:
    """Images grouped by study and series."""
    return _grouped(images, lambda image: (image.study, image.series))


def split(images: Several[Instance]) -> list[list[Instance]]:
    """The stacks of one series.

    Kinds of image are always told apart, planes where each is a stack by itself, and everything
    else only where positions repeat: the slices of one volume may differ in echo time by rounding,
    and in acquisition number by interleaving.
    """
    kinds = _grouped(images, derived_kind)
    planes = [stack for kind in kinds for stack in _planes(kind)]
    return [stack for plane in planes for stack in _volumes(plane)]


def _grouped(images: Iterable[Instance], key: Key) -> list[list[Instance]]:
    groups: dict[object, list[Instance]] = defaultdict(list)
    for image in images:
        groups[key(image)].append(image)
    return list(groups.values())


def _planes(images: list[Instance]) -> list[list[Instance]]:
    groups = _grouped(images, lambda i: tuple(np.round(i.orientation or (), 1) + 0.0))
    whole = len(groups) > 1 and all(_stacks(group) for group in groups)
    return groups if whole and not _parallel(groups) else [images]


def _parallel(groups: list[list[Instance]]) -> bool:
    """Whether two planes are one but for the direction of rows or columns: halves of one stack."""
    axes = [np.reshape(group[0].orientation or np.zeros(6), (2, 3)) for group in groups]
    normals = [np.cross(*pair) for pair in axes]
    return any(abs(float(a @ b)) > 0.99 for a, b in combinations(normals, 2))


def _volumes(images: list[Instance]) -> list[list[Instance]]:
    if not _repeats(images):
        return _interleaved(images)
    for count in range(1, len(_KEYS) + 1):
        for keys in combinations(_KEYS, count):
            groups = _grouped(images, lambda image, keys=keys: tuple(key(image) for key in keys))  # type: ignore[misc]
            if len(groups) > 1 and not any(_repeats(group) for group in groups):
                return groups
    return [images]


def _interleaved(images: list[Instance]) -> list[list[Instance]]:
    """Two stacks, one between the other's slices, by what the header says of their distance."""
    told = {image.slice_spacing for image in images} | {None}
    if len(told) != 2 or not _stacks(images):
        return [images]
    (spacing,) = told - {None}
    for key in _KEYS:
        groups = _grouped(images, key)
        if 1 < len(groups) <= 4 and all(_stacks(group) for group in groups):
            whole, part = _distance(images), _distance(groups[0])
            assert spacing is not None
            if abs(part - abs(spacing)) < abs(whole - abs(spacing)):
                return groups
    return [images]


def _along(images: Several[Instance]) -> np.ndarray:
    """Places along the normal in mm, ascending; empty where one is unknown."""
    unique = {image.uid: image for image in images}.values()
    if any(image.position is None or image.orientation is None for image in unique):
        return np.zeros(0)
    axes = np.array(next(iter(unique)).orientation)
    normal = np.cross(axes[:3], axes[3:])
    return np.sort(np.array([image.position for image in unique]) @ normal)


def _repeats(images: Several[Instance]) -> bool:
    along = _along(images)
    return bool((np.diff(along) <= SAME_POSITION_MM).any())


def _distance(images: Several[Instance]) -> float:
    return float(np.median(np.diff(_along(images))))


def _stacks(images: Several[Instance]) -> bool:
    if len(images) < MIN_SLICES:
        return False
    try:
        order_stack("", images)
    except BadInput:
        return False
    return True


def join_series(stacks: list[list[Instance]]) -> list[list[Instance]]:
    """Stacks of one study that continue each other, described alike, become one."""
    done: list[list[Instance]] = []
    for stack in stacks:
        other = next((one for one in done if _continues(one, stack)), None)
        if other is None:
            done.append(list(stack))
        else:
            other.extend(stack)
    return done


def _alike(image: Instance) -> tuple[object, ...]:
    plane = tuple(np.round(image.orientation or (), 2) + 0.0)
    spacing = tuple(np.round(image.spacing or (), 3))
    return (image.study, image.description, image.image_type, image.size, plane, spacing, image.tr,
            image.te, image.ti, image.agent, image.scanning, image.echo)  # fmt: skip


def _continues(one: list[Instance], two: list[Instance]) -> bool:
    if _alike(one[0]) != _alike(two[0]) or not one[0].position or not one[0].orientation:
        return False
    both = [*one, *two]
    if _repeats(both) or not _stacks(both):
        return False
    told = one[0].slice_spacing
    whole = _distance(both)
    return not told or not _stacks(one) or abs(whole - abs(told)) <= abs(_distance(one) - abs(told))
