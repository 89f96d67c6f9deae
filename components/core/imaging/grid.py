"""A sampling grid in patient space: where each voxel of an array lies, in millimetres."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk


@dataclass(frozen=True)
class Grid:
    """Size, origin, spacing and direction of an image, in SimpleITK's terms.

    Attributes:
        size: voxels along x, y, z. Arrays on this grid have shape (z, y, x).
        origin: LPS position in mm of the centre of voxel (0, 0, 0).
        spacing: mm along x, y, z.
        direction: 3x3 direction cosines, row-major.
    """

    size: tuple[int, int, int]
    origin: tuple[float, float, float]
    spacing: tuple[float, float, float]
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    @classmethod
    def make(
        cls,
        size: Iterable[float],
        origin: Iterable[float],
        spacing: Iterable[float],
        direction: Iterable[float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    ) -> Grid:
        """Grid from any sequences of numbers, numpy's among them."""
        nx, ny, nz = (int(n) for n in size)
        ox, oy, oz = (float(value) for value in origin)
        sx, sy, sz = (float(value) for value in spacing)
        return cls((nx, ny, nz), (ox, oy, oz), (sx, sy, sz), tuple(float(d) for d in direction))

    @classmethod
    def of(cls, image: sitk.Image) -> Grid:
        """Grid of a 3-D SimpleITK image."""
        return cls(image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection())

    @classmethod
    def from_affine(cls, affine: np.ndarray, shape: tuple[int, int, int]) -> Grid:
        """Grid from a 4x4 matrix (voxel x, y, z, 1 -> LPS mm) and an array shape (z, y, x).

        Raises:
            ValueError: the matrix is not finite, not orthogonal or of no volume.
        """
        matrix = np.asarray(affine, dtype=float)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError("an affine must be a finite 4x4 matrix")
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        if (spacing < 1e-6).any():
            raise ValueError("an affine must have three axes of non-zero length")
        direction = matrix[:3, :3] / spacing
        if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
            raise ValueError("an affine must have orthogonal axes")
        z, y, x = shape
        return cls.make((x, y, z), matrix[:3, 3], spacing, direction.ravel())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape (z, y, x)."""
        return self.size[2], self.size[1], self.size[0]

    @property
    def affine(self) -> np.ndarray:
        """4x4 matrix, voxel index (x, y, z, 1) -> LPS position in mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(self.direction, (3, 3)) * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(np.prod(self.spacing)) / 1000.0

    def image(self, array: np.ndarray) -> sitk.Image:
        """Put an array (z, y, x) on this grid. Raises ValueError when the shapes differ."""
        if array.shape != self.shape:
            raise ValueError(f"array of shape {array.shape} on a grid of shape {self.shape}")
        image = sitk.GetImageFromArray(array)
        image.SetOrigin(self.origin)
        image.SetSpacing(self.spacing)
        image.SetDirection(self.direction)
        return image

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready lists."""
        return {
            "size": list(self.size),
            "origin": list(self.origin),
            "spacing": list(self.spacing),
            "direction": list(self.direction),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Grid:
        """Inverse of `to_json`."""
        return cls.make(*(content[key] for key in ("size", "origin", "spacing", "direction")))


def resample(array: np.ndarray, source: Grid, target: Grid, *, nearest: bool = False) -> np.ndarray:
    """Resample an array (z, y, x) between two grids of the same patient space.

    Trilinear unless `nearest`; zero outside the source. Returns float32, or the input's own dtype
    when `nearest`.
    """
    image = source.image(np.ascontiguousarray(array if nearest else array.astype(np.float32)))
    reference = sitk.Image(list(target.size), sitk.sitkUInt8)
    reference.SetOrigin(target.origin)
    reference.SetSpacing(target.spacing)
    reference.SetDirection(target.direction)
    interpolator = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    moved = sitk.Resample(image, reference, sitk.Transform(), interpolator, 0.0)
    return sitk.GetArrayFromImage(moved)


def working_grid(grid: Grid, spacing_mm: float) -> Grid:
    """The isotropic grid of `spacing_mm` voxels that fills the same box as `grid`.

    The box is what the voxels of `grid` cover, edge to edge. Where it is no whole number of
    `spacing_mm` along an axis, the nearest number of voxels is taken, centred on the box.
    """
    matrix = grid.affine
    middle = matrix[:3, :3] @ ((np.asarray(grid.size) - 1) / 2.0) + matrix[:3, 3]
    extent = np.asarray(grid.size) * np.asarray(grid.spacing)
    size = np.maximum(np.rint(extent / spacing_mm).astype(int), 1)
    axes = np.reshape(grid.direction, (3, 3)) * spacing_mm
    origin = middle - axes @ ((size - 1) / 2.0)
    return Grid.make(size, origin, (spacing_mm,) * 3, grid.direction)
