"""Where a head is: its crown, from which every search for the brain begins."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from components.core.errors import BadInput

_BELOW_CROWN_MM = 110.0
_SMALLEST_SECTION_MM2 = 1500.0


def crown(t1c: sitk.Image) -> np.ndarray:
    """LPS mm of the middle of the head in-plane, at the height of its top.

    Raises:
        BadInput: no head in the image.
    """
    values = sitk.GetArrayViewFromImage(t1c)
    mm = t1c.GetSpacing()[0]
    low, high = np.percentile(values, (2, 98))
    head = values > low + 0.1 * (high - low)
    sections = head.sum(axis=(1, 2)) * mm**2
    tall = np.nonzero(sections > _SMALLEST_SECTION_MM2)[0]
    if high <= low or not len(tall):
        raise BadInput("t1c", "no head in the image", "give a whole-head or stripped T1C")
    top = int(tall.max())
    part = head[max(0, top - round(_BELOW_CROWN_MM / mm)) : top + 1]
    y, x = (
        float(np.average(np.arange(n), weights=part.sum(axis=tuple({0, 1, 2} - {axis}))))
        for axis, n in ((1, part.shape[1]), (2, part.shape[2]))
    )
    return np.array(t1c.TransformContinuousIndexToPhysicalPoint([x, y, float(top)]))


def distance_mm(mask: sitk.Image) -> np.ndarray:
    """Signed distance to the edge of a mask in mm, negative inside, (z, y, x)."""
    return sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(mask, squaredDistance=False, useImageSpacing=True)
    )
