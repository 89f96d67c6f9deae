"""Brain extraction by deepbet (Fisch et al., Computers in Biology and Medicine 2024).

The networks come with the package (MIT licence) as TorchScript. Their files are read once, compared
with the digests below, and loaded from the bytes that were compared; TorchScript holds tensors and
code of its own language, and no Python object of it is unpickled.
"""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from components.core.errors import BadInput, Implausible
from components.core.imaging.grid import Grid
from components.core.settings import Settings
from components.preprocess.registration.resampling import coarse
from components.preprocess.registration.template import package_file

if TYPE_CHECKING:
    from deepbet.bet import BrainExtraction

SPACING_MM = 1.0
"""The T1C is brought to isotropic voxels by linear interpolation first: deepbet itself samples by
nearest neighbour, which puts steps into the masks of thick slices."""

THRESHOLD = 0.5
"""On the network's probability of brain (the package's default)."""


class BrainNetwork(Settings):
    """Which networks find the brain; part of the preprocessing plan.

    Attributes:
        name, version, licence: of the package they come with.
        box_sha256: of the network that finds the brain's box.
        brain_sha256: of the network that finds the brain inside the box.
    """

    name: str
    version: str
    licence: str
    box_sha256: str
    brain_sha256: str


NETWORK = BrainNetwork(
    name="deepbet",
    version="1.0.2",
    licence="MIT",
    box_sha256="39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa",
    brain_sha256="de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
)


def brain_by_deepbet(t1c: sitk.Image) -> sitk.Image:
    """The brain of a T1C: uint8, 1 inside, isotropic voxels of SPACING_MM over its field of view.

    Ventricles included; the largest component, its holes filled.

    Args:
        t1c: float32, LPS axial, skull on or off.

    Raises:
        Implausible: nothing in the image looks like a brain.
        BadInput: the networks are not those that are pinned.
    """
    image = coarse(t1c, SPACING_MM)
    values = sitk.GetArrayFromImage(image)
    # deepbet wants (x, y, z) pointing right, anterior, superior; LPS (z, y, x) is its mirror.
    canonical = np.ascontiguousarray(values.transpose(2, 1, 0)[::-1, ::-1])
    # A thread of its own has torch's number of threads, whatever this one is limited to: the
    # networks give the same bytes on any number.
    with ThreadPoolExecutor(1) as pool:
        mask = pool.submit(_mask, canonical).result()
    if not mask.any():
        remedy = "give a T1C of the whole head"
        raise Implausible("t1c", "no brain was found in it", remedy, "no_brain")
    found = np.ascontiguousarray(mask[::-1, ::-1].transpose(2, 1, 0))
    return Grid.of(image).image(found.astype(np.uint8))


def _mask(canonical: np.ndarray) -> np.ndarray:
    """bool, as `canonical` (x, y, z); empty where the first network marks too little for a box."""
    # A copy, since it remembers its last box: threads share the networks alone.
    networks = copy(load_networks())
    try:
        probability = networks.run_model(canonical.copy())
        return np.asarray(networks.postprocess(probability > THRESHOLD), dtype=bool)
    except (AssertionError, ValueError):
        return np.zeros(canonical.shape, dtype=bool)


@cache
def load_networks() -> BrainExtraction:
    """Both networks, checked and read once per process. Raises BadInput: not the pinned ones."""
    from deepbet.bet import BrainExtraction

    return BrainExtraction(
        no_gpu=True,
        model_path=_verified("model.pt", NETWORK.brain_sha256),
        bbox_model_path=_verified("bbox_model.pt", NETWORK.box_sha256),
    )


def _verified(name: str, sha256: str) -> io.BytesIO:
    """A network's file, read once. Raises BadInput when it is not the one that is pinned."""
    # The package keeps its networks beside its own folder, in site-packages.
    path = package_file("deepbet", "__init__.py").parents[1] / "data" / "models" / name
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BadInput(
            path,
            f"is not the network of deepbet {NETWORK.version}",
            f"pip install --force-reinstall --no-deps deepbet=={NETWORK.version}",
        )
    return io.BytesIO(content)
