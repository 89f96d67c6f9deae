"""The 14 shape features of pyradiomics, with its values and without its waiting.

pyradiomics compares every mesh vertex with every other to find the largest diameters, which grows
with the square of the surface. Here the vertices are first reduced to their convex hulls, which
hold the farthest pair, and the mesh is summed up by counting which of the 256 marching-cubes
configurations occur. What each configuration contributes is asked of pyradiomics' own C code.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from components.core.errors import BadInput
from components.core.imaging.grid import Grid
from components.core.vocabulary import SHAPE_FEATURES

PAD = 1
"""Empty voxels around the mask's bounding box, as pyradiomics' own extractor crops and pads it.

Volume and surface of a ragged mask depend on the crop in the fourth digit, because its mesh is not
closed everywhere; so there is one crop for training, command line and server.
"""

_CORNERS = tuple(np.ndindex(2, 2, 2))


def shape_features(mask: np.ndarray, grid: Grid) -> dict[str, float]:
    """Shape features of a mask: name -> value in mm, mm2, mm3 or without unit.

    Equals radiomics.featureextractor on the same mask (to rounding errors of the sums).

    Args:
        mask: bool (z, y, x) on `grid`; the paper takes 1-mm isotropic voxels.
        grid: its grid. The direction does not matter: the axes of the array are the axes.

    Raises:
        BadInput: an empty mask, or one voxel alone, which has no shape.
    """
    if mask.shape != grid.shape:
        raise ValueError(f"mask of shape {mask.shape} on a grid of shape {grid.shape}")
    voxels = int(np.count_nonzero(mask))
    if voxels < 2:
        raise BadInput(
            "tumour mask",
            "it is empty" if voxels == 0 else "it holds a single voxel",
            "give a mask of the tumour, non-zero inside",
        )
    spacing = np.asarray(grid.spacing[::-1], dtype=float)
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    cropped = np.pad(mask[box].astype(bool), PAD)
    area, volume = _mesh(cropped, spacing)
    least, minor, major = _principal_variances(cropped, spacing)
    in_slice, in_column, in_row, overall = _diameters(cropped, spacing)
    values = {
        "Elongation": np.sqrt(minor / major),
        "Flatness": np.sqrt(least / major),
        "LeastAxisLength": 4.0 * np.sqrt(least),
        "MajorAxisLength": 4.0 * np.sqrt(major),
        "Maximum2DDiameterColumn": in_column,
        "Maximum2DDiameterRow": in_row,
        "Maximum2DDiameterSlice": in_slice,
        "Maximum3DDiameter": overall,
        "MeshVolume": volume,
        "MinorAxisLength": 4.0 * np.sqrt(minor),
        "Sphericity": (36.0 * np.pi * volume**2) ** (1.0 / 3.0) / area,
        "SurfaceArea": area,
        "SurfaceVolumeRatio": area / volume,
        "VoxelVolume": voxels * float(np.prod(spacing)),
    }
    return {name: float(values[name]) for name in SHAPE_FEATURES}


def _principal_variances(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Eigenvalues (ascending) of the covariance of the voxel positions in mm."""
    positions = np.argwhere(mask) * spacing
    positions -= positions.mean(axis=0)
    covariance = positions.T @ positions / len(positions)
    # A planar mask has one eigenvalue of zero up to rounding.
    return np.maximum(np.linalg.eigvalsh(covariance), 0.0)


def _mesh(mask: np.ndarray, spacing: np.ndarray) -> tuple[float, float]:
    """Surface in mm2 and volume in mm3 of pyradiomics' marching-cubes mesh."""
    inner = tuple(n - 1 for n in mask.shape)
    code = np.zeros(inner, dtype=np.uint8)
    for bit, (z, y, x) in enumerate(_CORNERS):
        part = mask[z : z + inner[0], y : y + inner[1], x : x + inner[2]]
        code |= part.astype(np.uint8) << np.uint8(bit)
    places = np.argwhere((code > 0) & (code < 255))
    found = code[tuple(places.T)]
    volumes, moments = _volume_tables()
    areas = _area_table(*spacing)
    volume = volumes[found].sum() + (moments[found] * places).sum()
    return float(areas[found].sum()), float(volume * np.prod(spacing))


@cache
def _area_table(*spacing: float) -> np.ndarray:
    """Surface in mm2 of each of the 256 configurations."""
    return np.array([_ask(_cube(code), spacing)[0] for code in range(256)])


@cache
def _volume_tables() -> tuple[np.ndarray, np.ndarray]:
    """Volume [256] of each configuration at the origin, and its change [256, 3] per voxel of shift.

    In voxel units. Each triangle contributes a signed tetrahedron with the origin, hence the shift:
    it is measured by putting two cubes in a row and subtracting what does not move.
    """
    unit = (1.0, 1.0, 1.0)
    own = np.array([_ask(_cube(code), unit)[1] for code in range(256)])
    index = {_cube(code).tobytes(): code for code in range(256)}
    moments = np.zeros((256, 3))
    for code in range(256):
        cube = _cube(code)
        for axis in range(3):
            first = np.take(cube, [0], axis=axis)
            flat = np.concatenate([first, first], axis=axis)
            row = np.concatenate([first, cube], axis=axis)
            rest = own[index[flat.tobytes()]]
            moments[code, axis] = _ask(row, unit)[1] - rest - own[code]
    return own, moments


def _cube(code: int) -> np.ndarray:
    bits = [(code >> bit) & 1 for bit in range(8)]
    return np.array(bits, dtype=bool).reshape(2, 2, 2)


def _ask(mask: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, float]:
    """Surface and volume of a tiny mask, from pyradiomics."""
    from radiomics import cShape

    area, volume, _ = cShape.calculate_coefficients(np.ascontiguousarray(mask), np.array(spacing))
    return area, volume


def _diameters(mask: np.ndarray, spacing: np.ndarray) -> tuple[float, float, float, float]:
    """Largest distance in mm of two mesh vertices: within a z, a y, an x plane, and overall.

    A mesh vertex lies halfway between every pair of neighbouring voxels of which one is inside.
    """
    vertices = []
    for axis in range(3):
        first = np.argwhere(np.diff(mask, axis=axis)).astype(float)
        first[:, axis] += 0.5
        vertices.append(first)
    points = np.concatenate(vertices)
    in_plane = [_largest_in_planes(points, axis, spacing) for axis in range(3)]
    return in_plane[0], in_plane[1], in_plane[2], _largest(points * spacing)


def _largest_in_planes(points: np.ndarray, axis: int, spacing: np.ndarray) -> float:
    others = [a for a in range(3) if a != axis]
    order = np.argsort(points[:, axis], kind="stable")
    _, starts = np.unique(points[order, axis], return_index=True)
    planes = np.split(points[order][:, others] * spacing[others], starts[1:])
    extents = [np.linalg.norm(np.ptp(plane, axis=0)) for plane in planes]
    best = 0.0
    # A plane's farthest pair is no farther than the diagonal of its box: most need no search.
    for index in np.argsort(extents)[::-1]:
        if extents[index] <= best:
            break
        best = max(best, _largest(planes[index]))
    return best


def _largest(points: np.ndarray) -> float:
    """Largest distance between any two points [n, d]."""
    if len(points) > 3 * points.shape[1]:
        try:
            points = points[ConvexHull(points).vertices]
        except QhullError:
            # Points on a line or in a plane have no hull of full dimension; there are few of them.
            points = np.unique(points, axis=0)
    return float(pdist(points).max()) if len(points) > 1 else 0.0
