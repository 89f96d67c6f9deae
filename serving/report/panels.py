"""One slice as a small PNG: grey values, the tumour's outline, and where the network looked."""

from __future__ import annotations

import base64
import io

import numpy as np

PIXELS = 200
"""Rows of a picture."""

WINDOW = (-2.5, 3.5)
"""z-scores shown black and white."""

OUTLINE = "#ffb000"
HEAT = "inferno"


def panel(
    values: np.ndarray, mask: np.ndarray, aspect: float, heat: np.ndarray | None = None
) -> str:
    """A slice as base64 PNG.

    Args:
        values: z-scores (y, x), NaN outside the brain.
        mask: bool (y, x); its edge is drawn.
        aspect: height of a pixel, its width being 1.
        heat: (y, x) in 0 to 1, laid over the image; None for the image alone.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb
    from matplotlib.image import imsave
    from scipy.ndimage import binary_erosion

    low, high = WINDOW
    filled = np.nan_to_num((values - low) / (high - low), nan=0.0)
    shown = np.repeat(np.clip(_enlarged(filled, aspect), 0.0, 1.0)[..., None], 3, axis=2)
    if heat is not None:
        warmth = np.clip(_enlarged(heat, aspect), 0.0, 1.0)
        opacity = 0.85 * np.sqrt(warmth)[..., None]
        shown = (1.0 - opacity) * shown + opacity * colormaps[HEAT](warmth)[..., :3]
    inside = _enlarged(mask.astype(np.float64), aspect) > 0.5
    shown[inside & ~binary_erosion(inside, iterations=2)] = to_rgb(OUTLINE)
    stream = io.BytesIO()
    imsave(stream, np.rint(shown * 255).astype(np.uint8), metadata={"Software": ""})
    return base64.b64encode(stream.getvalue()).decode()


def _enlarged(values: np.ndarray, aspect: float) -> np.ndarray:
    from scipy.ndimage import zoom

    factor = PIXELS / values.shape[0]
    return zoom(values, (factor, factor / aspect), order=1, mode="nearest", grid_mode=True)
