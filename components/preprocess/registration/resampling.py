"""Images brought to other grids, each by one interpolation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import SimpleITK as sitk
from threadpoolctl import threadpool_limits

from components.core.imaging.grid import Grid

T = TypeVar("T")


@dataclass
class _Limit:
    """The process's limit to one thread, and how many are inside it."""

    lock: Lock = field(default_factory=Lock)
    inside: int = 0
    undo: ExitStack = field(default_factory=ExitStack)


_LIMIT = _Limit()


@contextmanager
def one_thread() -> Iterator[None]:
    """SimpleITK and BLAS on one thread: more would change the last digits from run to run.

    The limit is the process's: it ends when the last of several threads has left.
    """
    process = sitk.ProcessObject
    with _LIMIT.lock:
        blas = threadpool_limits(1)  # OpenMP counts by thread, so each who enters sets it
        _LIMIT.inside += 1
        if _LIMIT.inside == 1:
            before = process.GetGlobalDefaultNumberOfThreads()
            _LIMIT.undo.callback(process.SetGlobalDefaultNumberOfThreads, before)
            _LIMIT.undo.callback(blas.restore_original_limits)
            process.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        with _LIMIT.lock:
            _LIMIT.inside -= 1
            if _LIMIT.inside == 0:
                _LIMIT.undo.close()


def as_transform(matrix: np.ndarray) -> sitk.AffineTransform:
    """4x4 matrix (LPS mm of the target -> LPS mm of the source) as a SimpleITK transform."""
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(np.asarray(matrix, float)[:3, :3].ravel().tolist())
    transform.SetTranslation(np.asarray(matrix, float)[:3, 3].tolist())
    return transform


def as_matrix(transform: sitk.Transform) -> np.ndarray:
    """4x4 matrix of a linear SimpleITK transform, whatever its centre."""
    corners = np.vstack([np.zeros(3), np.eye(3)])
    moved = np.array([transform.TransformPoint(corner.tolist()) for corner in corners])
    matrix = np.eye(4)
    matrix[:3, :3] = (moved[1:] - moved[0]).T
    matrix[:3, 3] = moved[0]
    return matrix


def binned(image: sitk.Image, spacing_mm: tuple[float, float, float]) -> sitk.Image:
    """Average whole voxels together where several lie in one voxel of `spacing_mm` (x, y, z).

    Keeps thin slices from aliasing on a coarse grid. The averages are what the later, only,
    interpolation reads.
    """
    factors = [
        min(max(int(goal / own + 1e-3), 1), size)
        for goal, own, size in zip(spacing_mm, image.GetSpacing(), image.GetSize(), strict=True)
    ]
    return image if max(factors) == 1 else sitk.BinShrink(image, factors)


def triple(values: Iterable[Any], kind: Callable[[Any], T]) -> tuple[T, T, T]:
    """Three numbers as a tuple of Python's own."""
    x, y, z = (kind(value) for value in values)
    return x, y, z


def isotropic(image: sitk.Image, spacing_mm: float) -> Grid:
    """Grid of isotropic voxels over the field of view of `image`, its axes and centre kept."""
    extent = np.asarray(image.GetSize()) * np.asarray(image.GetSpacing())
    size = np.maximum(np.rint(extent / spacing_mm).astype(int), 1)
    own = Grid.of(image)
    middle = own.affine[:3, :3] @ ((np.asarray(own.size) - 1) / 2.0) + own.affine[:3, 3]
    axes = np.reshape(own.direction, (3, 3)) * spacing_mm
    origin = middle - axes @ ((size - 1) / 2.0)
    return Grid(triple(size, int), triple(origin, float), (spacing_mm,) * 3, own.direction)


def resample_to(
    image: sitk.Image,
    grid: Grid,
    matrix: np.ndarray | None = None,
    *,
    nearest: bool = False,
    outside: float = 0.0,
) -> sitk.Image:
    """`image` on `grid`, trilinear unless `nearest`.

    Args:
        matrix: 4x4, LPS mm in the grid's space -> LPS mm in the image's space; identity if None.
        outside: value beyond the image's field of view.
    """
    return sitk.Resample(
        image,
        grid.size,
        sitk.Transform(3, sitk.sitkIdentity) if matrix is None else as_transform(matrix),
        sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear,
        grid.origin,
        grid.spacing,
        grid.direction,
        outside,
        image.GetPixelID(),
    )


def coarse(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """`image` averaged and resampled to isotropic voxels over its own field of view."""
    return resample_to(
        binned(image, (spacing_mm,) * 3), isotropic(image, spacing_mm), outside=_edge(image)
    )


def _edge(image: sitk.Image) -> float:
    """Darkest value: what the air around the head most likely is."""
    return float(sitk.GetArrayViewFromImage(image).min())
