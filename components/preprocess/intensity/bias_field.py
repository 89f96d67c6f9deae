"""Bias fields: N4 (Tustison et al., IEEE TMI 2010) as ITK has it, and a separable form of it.

Both fit log(image) = log(true) + field on a coarse grid inside the brain, and give the field on
that grid; it is smooth, so that it can be read anywhere by interpolation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from components.core.imaging.grid import Grid
from components.preprocess.registration.resampling import resample_to
from components.preprocess.settings import BiasMethod, BiasSettings

_BINS = 200
_NOISE = 0.01
_FWHM = 0.15
"""Histogram bins, Wiener noise and width of the sharpening kernel: N4's own defaults."""

_ORDER = 3


@dataclass(frozen=True)
class BiasField:
    """A multiplicative field.

    Attributes:
        log_field: float32 (z, y, x), natural logarithm of the field; 0 means none.
        grid: where its voxels lie in the T1C's space.
    """

    log_field: np.ndarray
    grid: Grid

    def on(self, grid: Grid) -> np.ndarray:
        """The field itself (factor, float32) on another grid; beyond its box, that of the edge."""
        rim = self.grid.image(np.pad(self.log_field, 0))
        padded = sitk.ZeroFluxNeumannPad(rim, [4, 4, 4], [4, 4, 4])
        return np.exp(sitk.GetArrayFromImage(resample_to(padded, grid)))


def fit_bias(
    values: np.ndarray, brain: np.ndarray, grid: Grid, settings: BiasSettings
) -> BiasField:
    """Find the bias field of one image.

    Args:
        values: float32 (z, y, x) on the coarse `grid` (spacing about settings.spacing_mm).
        brain: bool (z, y, x); only its voxels with positive values are read.
    """
    inside = brain & (values > 0)
    if settings.method is BiasMethod.NONE or inside.sum() < _ORDER**3 * 10:
        return BiasField(np.zeros(grid.shape, np.float32), grid)
    solve = {BiasMethod.SEPARABLE: _separable, BiasMethod.N4: _itk}[settings.method]
    return BiasField(solve(values, inside, grid, settings).astype(np.float32), grid)


def _spans(grid: Grid, spline_mm: float) -> np.ndarray:
    """Knot intervals of the coarsest mesh along x, y, z."""
    extent = (np.asarray(grid.size) - 1) * np.asarray(grid.spacing)
    return np.maximum(np.ceil(extent / spline_mm).astype(int), 1)


def _itk(values: np.ndarray, inside: np.ndarray, grid: Grid, settings: BiasSettings) -> np.ndarray:
    """ITK's N4 with the mesh laid out as ANTs does: padded to whole knot distances."""
    spans = _spans(grid, settings.spline_mm)
    missing = spans * settings.spline_mm / np.asarray(grid.spacing) - (np.asarray(grid.size) - 1)
    low = np.floor(np.maximum(missing, 0) / 2).astype(int)
    high = np.ceil(np.maximum(missing, 0) / 2).astype(int)
    image = sitk.ConstantPad(grid.image(values), low.tolist(), high.tolist())
    mask = sitk.ConstantPad(grid.image(inside.astype(np.uint8)), low.tolist(), high.tolist())
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.SetMaximumNumberOfIterations(list(settings.iterations))
    n4.SetConvergenceThreshold(settings.tolerance)
    n4.SetNumberOfControlPoints((spans + _ORDER).tolist())
    n4.Execute(image, mask)
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image))
    z, y, x = (slice(a, a + n) for a, n in zip(low[::-1], grid.shape, strict=True))
    return field[z, y, x]


def _separable(
    values: np.ndarray, inside: np.ndarray, grid: Grid, settings: BiasSettings
) -> np.ndarray:
    """N4's iteration; each B-spline fit and evaluation is three products with small matrices."""
    log_input = np.log(np.where(inside, values, 1.0)).astype(np.float64)
    flat = np.flatnonzero(inside)
    field = np.zeros(grid.shape)
    spans = _spans(grid, settings.spline_mm)
    for level, most in enumerate(settings.iterations):
        smooth = _smoother(inside, grid, spans * 2**level, settings.spline_mm / 2**level)
        for _ in range(most):
            current = (log_input - field).ravel()[flat]
            residual = np.zeros(grid.shape)
            residual.ravel()[flat] = current - _sharpened(current)
            step = smooth(residual)
            field += step
            change = np.exp(-step.ravel()[flat])
            if change.std() / change.mean() < settings.tolerance:
                break
    return field


def _smoother(
    inside: np.ndarray, grid: Grid, spans: np.ndarray, knot_mm: float
) -> Callable[[np.ndarray], np.ndarray]:
    """Least-squares-like B-spline approximation of values inside the mask (Lee et al. 1997)."""
    bases = [
        _basis(n, mm, int(count), knot_mm)
        for n, mm, count in zip(grid.size, grid.spacing, spans, strict=True)
    ][::-1]
    squares = np.einsum("i,j,k->ijk", *((basis**2).sum(axis=1) for basis in bases))
    weight = inside.astype(float)
    below = _onto(weight, [basis**2 for basis in bases])
    cubes = [basis**3 for basis in bases]
    known = below > 1e-9

    def smooth(residual: np.ndarray) -> np.ndarray:
        above = _onto(residual / squares, cubes)
        lattice = np.where(known, above / np.where(known, below, 1.0), 0.0)
        return _onto(lattice, [basis.T for basis in bases])

    return smooth


def _onto(volume: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    """Contract every axis of `volume` with the rows of its matrix."""
    for matrix in matrices:
        volume = np.tensordot(volume, matrix, axes=(0, 0))
    return volume


def _basis(voxels: int, mm: float, spans: int, knot_mm: float) -> np.ndarray:
    """(voxels, spans + 3) cubic B-spline weights, the voxels centred on the mesh."""
    length = spans * knot_mm
    position = (np.arange(voxels) * mm + (length - (voxels - 1) * mm) / 2) / knot_mm
    position = np.clip(position, 0.0, spans - 1e-9)
    cell = position.astype(int)
    t = position - cell
    weights = (
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    )
    matrix = np.zeros((voxels, spans + _ORDER))
    for offset, weight in enumerate(weights):
        matrix[np.arange(voxels), cell + offset] = weight
    return matrix


def _sharpened(values: np.ndarray) -> np.ndarray:
    """Values (log intensities) moved to where a histogram freed of the field's blur has them."""
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9:
        return values
    slope = (high - low) / (_BINS - 1)
    place = (values - low) / slope
    cell = np.minimum(place.astype(int), _BINS - 2)
    part = place - cell
    histogram = np.bincount(cell, 1 - part, _BINS) + np.bincount(cell + 1, part, _BINS)
    size = 2 ** (int(np.ceil(np.log2(_BINS))) + 1)
    offset = (size - _BINS) // 2
    padded = np.zeros(size)
    padded[offset : offset + _BINS] = histogram
    width = _FWHM / slope
    distance = np.minimum(np.arange(size), size - np.arange(size))
    kernel = (
        2 * np.sqrt(np.log(2) / np.pi) / width * np.exp(-4 * np.log(2) * (distance / width) ** 2)
    )
    blur = np.fft.fft(kernel)
    wiener = np.conj(blur) / (np.abs(blur) ** 2 + _NOISE)
    sharp = np.maximum(np.fft.ifft(np.fft.fft(padded) * wiener.real).real, 0.0)
    centres = low + (np.arange(size) - offset) * slope
    above = np.fft.ifft(np.fft.fft(sharp * centres) * blur).real
    below = np.fft.ifft(np.fft.fft(sharp) * blur).real
    mean = np.where(np.abs(below) > 1e-12, above / np.where(below == 0, 1, below), 0.0)
    expected = mean[offset : offset + _BINS]
    return expected[cell] * (1 - part) + expected[cell + 1] * part
