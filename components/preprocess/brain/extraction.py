"""Brain masks on the T1C, behind one function: by deepbet, by HD-BET, or given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from components.core.errors import BadInput
from components.core.imaging.grid import Grid
from components.core.imaging.overlap import dice
from components.preprocess.brain.deepbet import brain_by_deepbet
from components.preprocess.registration.resampling import coarse, resample_to
from components.preprocess.settings import BrainBackend, BrainSettings

_STRIPPED_DICE = 0.9
"""Overlap of what is not background with the brain found in it, from which an image is taken as
skull-stripped. Of 11 stripped patients the least was 0.97; of a head, whose skull and scalp are as
much again, it is 0.6 at most."""

_HEAD = 2.0 / _STRIPPED_DICE - 1.0
"""Volume over the brain's beyond which that overlap cannot be reached."""

_DARK = 0.03
"""Share of the image's range, around the background's value, that is background: interpolation
leaves ripples there."""

_CLOSED_MM = 3.0
"""Gaps of the foreground that are closed: dark fluid at the brain's surface."""


@dataclass(frozen=True)
class Brain:
    """Where the brain is.

    Attributes:
        mask: uint8, 1 in the brain, on a grid of its own in the T1C's space.
        backend: what made it.
    """

    mask: sitk.Image
    backend: BrainBackend


def extract_brain(
    t1c: sitk.Image, settings: BrainSettings, given: sitk.Image | None = None
) -> Brain:
    """Find the brain.

    A given mask comes first; then the brain of an image that is skull-stripped already, whatever
    the value of its background; then the backend.

    Args:
        t1c: float32, LPS axial.
        given: the manifest's own mask, any grid in the T1C's space.

    Raises:
        BadInput: no brain, an empty given mask, or a backend that is not installed.
    """
    if given is not None:
        return Brain(_as_mask(given), BrainBackend.GIVEN)
    backend = settings.backend
    found = brain_by_hdbet(t1c) if backend is BrainBackend.HDBET else brain_by_deepbet(t1c)
    stripped = stripped_brain(t1c, found)
    if stripped is not None:
        return Brain(stripped, BrainBackend.GIVEN)
    if backend is BrainBackend.GIVEN:
        raise BadInput(
            "brain mask",
            "none is given, and the images are not skull-stripped",
            "add a column brain_mask, or set the brain backend to 'deepbet'",
        )
    return Brain(found, backend)


def _as_mask(given: sitk.Image) -> sitk.Image:
    mask = sitk.DICOMOrient(given, "LPS") > 0.5
    if not sitk.GetArrayViewFromImage(mask).any():
        raise BadInput("brain mask", "the given mask is empty", "give the mask of the whole brain")
    return mask


def stripped_brain(t1c: sitk.Image, found: sitk.Image) -> sitk.Image | None:
    """The brain of a skull-stripped image: all that is not background. None for a head.

    Args:
        found: the brain that a network sees in it, any grid; where the two agree there is nothing
            beside the brain.
    """
    small = coarse(t1c, 2.0)
    brain = resample_to(sitk.Cast(found, sitk.sitkFloat32), Grid.of(small))
    inside = sitk.GetArrayViewFromImage(brain) > 0.5
    largest = _largest(small)
    # A head is told by its size alone: filling its holes would only make it larger.
    if np.count_nonzero(sitk.GetArrayViewFromImage(largest)) > _HEAD * inside.sum():
        return None
    overlap = dice(inside, sitk.GetArrayViewFromImage(_filled(largest)) > 0)
    return _filled(_largest(t1c)) if overlap >= _STRIPPED_DICE else None


def _largest(image: sitk.Image) -> sitk.Image:
    """uint8: the largest thing in an image. Background is what its faces show."""
    values = sitk.GetArrayViewFromImage(image)
    faces = [values.take(index, axis) for axis in range(3) for index in (0, -1)]
    background = float(np.median(np.concatenate([face.ravel() for face in faces])))
    reach = _DARK * float(np.percentile(np.abs(values - background), 99.5))
    mask = sitk.Cast(sitk.Abs(image - background) > reach, sitk.sitkUInt8)
    # Opened by a voxel in plane, so that lone voxels of the background hold nothing together.
    mask = sitk.BinaryMorphologicalOpening(mask, [1, 1, 0])
    return sitk.RelabelComponent(sitk.ConnectedComponent(mask), sortByObjectSize=True) == 1


def _filled(mask: sitk.Image) -> sitk.Image:
    """A mask with its gaps closed and its holes filled."""
    radius = [max(0, round(_CLOSED_MM / mm)) for mm in mask.GetSpacing()]
    padded = sitk.ConstantPad(mask, radius, radius)
    closed = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(padded, radius))
    return sitk.Crop(closed, radius, radius)


def brain_by_hdbet(t1c: sitk.Image) -> sitk.Image:
    """HD-BET (Isensee et al. 2019) on the CPU; its package and weights must be installed."""
    import tempfile
    from pathlib import Path

    try:
        from HD_BET.checkpoint_download import maybe_download_parameters  # noqa: F401
        from HD_BET.hd_bet_prediction import get_hdbet_predictor, hdbet_predict
    except ImportError:
        raise BadInput(
            "brain backend 'hdbet'",
            "the package hd-bet is not installed",
            "install it with its weights, or set the brain backend to 'deepbet'",
        ) from None
    import torch

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "t1c.nii.gz", Path(folder) / "brain.nii.gz"
        sitk.WriteImage(t1c, str(source))
        predictor = get_hdbet_predictor(use_tta=False, device=torch.device("cpu"))
        hdbet_predict(str(source), str(target), predictor, keep_brain_mask=True)
        mask = sitk.ReadImage(str(target).replace("brain.nii.gz", "brain_bet.nii.gz"))
    return sitk.Cast(mask > 0, sitk.sitkUInt8)
