"""One level of the registration pyramid: both images, the metric, its optimisers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from components.preprocess.registration.resampling import coarse
from components.preprocess.settings import AlignSettings

_SEED = 20210


_SEARCH_MM = 1.0
"""First step of the search along each line."""


@dataclass(frozen=True)
class PyramidLevel:
    """One level of the pyramid: both images at `mm`, and the metric between them."""

    fixed: sitk.Image
    moving: sitk.Image
    mask: sitk.Image | None
    mm: float
    settings: AlignSettings

    def method(self) -> sitk.ImageRegistrationMethod:
        method = sitk.ImageRegistrationMethod()
        method.SetNumberOfThreads(1)
        method.SetMetricAsMattesMutualInformation(self.settings.bins)
        share = self.settings.samples / self.fixed.GetNumberOfPixels()
        if share < 1.0:
            method.SetMetricSamplingStrategy(method.REGULAR)
            method.SetMetricSamplingPercentage(share, _SEED)
        if self.mask is not None:
            method.SetMetricFixedMask(self.mask)
        method.SetInterpolator(sitk.sitkLinear)
        return method

    def similarity(self, transform: sitk.Transform) -> float:
        """Mutual information in nats; minus infinity where the images do not overlap."""
        method = self.method()
        method.SetInitialTransform(transform)
        try:
            return -float(method.MetricEvaluate(self.fixed, self.moving))
        except RuntimeError:
            return -np.inf

    def descend(self, transform: sitk.Transform, step_mm: float) -> sitk.Transform | None:
        """Follow the gradient from `transform`; None where the optimiser lost the overlap."""
        method = self.method()
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=step_mm,
            minStep=min(0.02 * self.mm, step_mm / 4.0),
            numberOfIterations=self.settings.iterations,
            relaxationFactor=self.settings.relaxation,
            gradientMagnitudeTolerance=1e-6,
        )
        return self._run(method, transform)

    def search(self, transform: sitk.Transform) -> sitk.Transform | None:
        """Search line by line around `transform` (Powell); None where the overlap was lost.

        The gradient of the mutual information is rough between thick slices, and following it
        stops short: from the truth itself it found nowhere better to go.
        """
        method = self.method()
        method.SetOptimizerAsPowell(
            numberOfIterations=5,
            maximumLineIterations=20,
            stepLength=_SEARCH_MM,
            stepTolerance=0.02 * _SEARCH_MM,
            valueTolerance=1e-5,
        )
        return self._run(method, transform)

    def _run(
        self, method: sitk.ImageRegistrationMethod, transform: sitk.Transform
    ) -> sitk.Transform | None:
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, inPlace=False)
        try:
            found = method.Execute(self.fixed, self.moving)
        except RuntimeError:
            return None
        return found.GetBackTransform() if hasattr(found, "GetBackTransform") else found


def level_of(
    fixed: sitk.Image,
    moving: sitk.Image,
    mask: sitk.Image | None,
    mm: float,
    settings: AlignSettings,
) -> PyramidLevel:
    small = coarse(fixed, mm)
    if mask is not None:
        mask = sitk.Resample(mask, small, sitk.Transform(), sitk.sitkNearestNeighbor)
    return PyramidLevel(small, coarse(moving, mm), mask, mm, settings)
