"""Brain masks on the T1C, behind one function: by template, by HD-BET, or given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from components.core.errors import BadInput
from components.preprocess.brain.outline import fit_outline
from components.preprocess.registration.resampling import coarse
from components.preprocess.settings import BrainBackend, BrainSettings

_STRIPPED_ML = (500.0, 2300.0)
"""Volume of what is not background, holes filled, when nothing but brain is left."""

_STRIPPED_EMPTY = 0.3
"""Least share of exactly constant background in stripped images."""


@dataclass(frozen=True)
class Brain:
    """Where the brain is.

    Attributes:
        mask: uint8, 1 in the brain, on a grid of its own in the T1C's space.
        backend: what made it.
        mni_to_t1c: 4x4 affine found on the way, LPS mm; None where there was none.
        contrast: evidence across the outline, 0 to 2 (template only, else NaN).
    """

    mask: sitk.Image
    backend: BrainBackend
    mni_to_t1c: np.ndarray | None = None
    contrast: float = float("nan")


def extract_brain(
    t1c: sitk.Image, settings: BrainSettings, given: sitk.Image | None = None
) -> Brain:
    """Find the brain.

    Args:
        t1c: float32, LPS axial.
        given: the manifest's own mask, any grid in the T1C's space; it comes before all else.

    Raises:
        BadInput: no head, an empty given mask, or a backend that is not installed.
    """
    if given is not None:
        return Brain(_as_mask(given), BrainBackend.GIVEN)
    if settings.detect_stripped or settings.backend is BrainBackend.GIVEN:
        stripped = stripped_mask(t1c)
        if stripped is not None:
            return Brain(stripped, BrainBackend.GIVEN)
    if settings.backend is BrainBackend.GIVEN:
        raise BadInput(
            "brain mask",
            "none is given, and the images are not stripped",
            "add a column brain_mask, or set the brain backend to 'template'",
        )
    if settings.backend is BrainBackend.HDBET:
        return Brain(_hdbet(t1c), BrainBackend.HDBET)
    fit = fit_outline(coarse(t1c, settings.spacing_mm))
    return Brain(fit.mask, BrainBackend.TEMPLATE, fit.matrix, fit.contrast)


def _as_mask(given: sitk.Image) -> sitk.Image:
    mask = sitk.DICOMOrient(given, "LPS") > 0.5
    if not sitk.GetArrayViewFromImage(mask).any():
        raise BadInput("brain mask", "the given mask is empty", "give the mask of the whole brain")
    return mask


def stripped_mask(t1c: sitk.Image) -> sitk.Image | None:
    """The brain in an image that holds nothing else, or None when there is more (a head)."""
    small = coarse_foreground(t1c)
    if small is None:
        return None
    values = sitk.GetArrayViewFromImage(t1c)
    mask = sitk.BinaryFillhole(sitk.Cast(t1c > float(values.min()), sitk.sitkUInt8))
    return sitk.BinaryMorphologicalOpening(mask, [1, 1, 0])


def coarse_foreground(t1c: sitk.Image) -> sitk.Image | None:
    """Foreground (uint8) on a constant background when it is as large as a brain, else None."""
    values = sitk.GetArrayViewFromImage(t1c)
    floor = values.min()
    share = float((values[::2, ::2, ::2] == floor).mean())
    if share < _STRIPPED_EMPTY:
        return None
    foreground = sitk.Cast(t1c > float(floor), sitk.sitkFloat32)
    small = coarse(foreground, 3.0) > 0.5
    small = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(small, [3, 3, 3]))
    volume = float(sitk.GetArrayViewFromImage(small).sum()) * 0.027
    return small if _STRIPPED_ML[0] <= volume <= _STRIPPED_ML[1] else None


def _hdbet(t1c: sitk.Image) -> sitk.Image:
    """HD-BET (Isensee 2019) on the CPU; its package and weights must be there."""
    import tempfile
    from pathlib import Path

    try:
        from HD_BET.checkpoint_download import maybe_download_parameters  # noqa: F401
        from HD_BET.hd_bet_prediction import get_hdbet_predictor, hdbet_predict
    except ImportError:
        raise BadInput(
            "brain backend 'hdbet'",
            "the package hd-bet is not installed",
            "install it with its weights, or set the brain backend to 'template'",
        ) from None
    import torch

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "t1c.nii.gz", Path(folder) / "brain.nii.gz"
        sitk.WriteImage(t1c, str(source))
        predictor = get_hdbet_predictor(use_tta=False, device=torch.device("cpu"))
        hdbet_predict(str(source), str(target), predictor, keep_brain_mask=True)
        mask = sitk.ReadImage(str(target).replace("brain.nii.gz", "brain_bet.nii.gz"))
    return sitk.Cast(mask > 0, sitk.sitkUInt8)
