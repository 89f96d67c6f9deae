"""Whether exported networks answer like the trained ones, judged by what it protects.

Masks must be equal but for a few voxels at the threshold, and the probability of IDH mutation must
be equal within `MOST_IDH`: on prepared patients that the segmenter was not trained on, where there
are any, and on made-up volumes. docs/serving.md has the differences of five sizes of network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.cohort.prepared import PreparedCase, read_case
from components.core.files import read_json
from components.core.vocabulary import FEATURE_NAMES, LEARNT, Status
from components.release.inference.ensemble import ServedStep
from components.release.inference.onnx_network import OnnxNetwork
from components.release.inference.request import request_tensors
from components.release.manifest import Contents, FeatureReference
from components.release.tensors import SLICES

if TYPE_CHECKING:
    from components.classify.inference.classifier import Classifier
    from components.segment.inference.segmenter import Segmenter

MOST_FLIPPED = 1e-4
"""Share of the brain's voxels that may lie on the other side of the threshold."""

MOST_MEAN = 2e-5
"""Mean difference of the tumour probability over the brain: eight times what was seen at any size.
"""

MOST_IDH = 1e-3
"""Difference of the probability of IDH mutation of one patient."""

MOST_CLASSIFIER = 1e-4
"""Difference of any probability of the classifier on the same samples."""

CASES = 3
"""Prepared patients that are compared at most: each costs two predictions at full size."""

SEED = 20210
_SMOOTH = 9
"""Voxels over which the smooth made-up volume is averaged along each axis."""


@dataclass(frozen=True)
class Difference:
    """How far one exported network is from the trained one on one input.

    Attributes:
        worst, mean, p999: largest, mean and 99.9th percentile of the absolute difference of the
            probability over the brain.
        flipped: share of the brain's voxels on the other side of the threshold.
    """

    worst: float
    mean: float
    p999: float
    flipped: float


def compared_cases(prepared: Iterable[Path]) -> list[PreparedCase]:
    """A few cases of prepared sets, those first that no network was trained on."""
    files = sorted(file for folder in prepared for file in folder.glob("*/case.json"))
    files.sort(key=lambda file: read_json(file)["subset"] in LEARNT)
    return [read_case(file.parent) for file in files[:CASES]]


def segmenter_parity(
    exported: OnnxNetwork, trained: Segmenter, cases: Sequence[PreparedCase]
) -> dict[str, float]:
    """Compare the segmenters; the worst figure of any input by name.

    Raises RuntimeError: masks, or the mean probability, differ by more than the limits.
    """
    found = [
        compare_maps(exported, trained, volumes, brain)
        for volumes, brain in _volumes_of(trained, cases)
    ]
    figures = {
        "segmenter": max(each.worst for each in found),
        "segmenter_mean": max(each.mean for each in found),
        "segmenter_p999": max(each.p999 for each in found),
        "segmenter_flipped": max(each.flipped for each in found),
        "segmenter_patients": float(len(cases)),
    }
    if figures["segmenter_flipped"] > MOST_FLIPPED or figures["segmenter_mean"] > MOST_MEAN:
        raise RuntimeError(
            f"the exported segmenter is not the trained one: {figures['segmenter_flipped']:.2g} of "
            f"the brain's voxels change sides (at most {MOST_FLIPPED:g}), the probability differs "
            f"by {figures['segmenter_mean']:.2g} on average (at most {MOST_MEAN:g})"
        )
    return figures


def compare_maps(
    exported: OnnxNetwork, trained: Segmenter, volumes: np.ndarray, brain: np.ndarray
) -> Difference:
    """Both tumour probabilities of one input.

    Args:
        volumes: z-scores, float32 [channel, z, y, x].
        brain: bool [z, y, x].
    """
    inputs: dict[str, np.ndarray] = {"volumes": volumes, "brain": brain.astype(np.uint8)}
    ours = exported(inputs)["probability"][brain]
    theirs = trained.probability(volumes, brain)[brain]
    apart = np.abs(ours - theirs)
    cut = trained.rule.threshold
    return Difference(
        worst=float(apart.max()),
        mean=float(apart.mean()),
        p999=float(np.quantile(apart, 0.999)),
        flipped=float(((ours >= cut) != (theirs >= cut)).mean()),
    )


def _volumes_of(
    trained: Segmenter, cases: Sequence[PreparedCase]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from scipy.ndimage import uniform_filter

    side = np.linspace(-1.2, 1.2, trained.grid)
    brain = side[:, None, None] ** 2 + side[:, None] ** 2 + side**2 <= 1.0
    noise = np.random.default_rng(SEED).normal(size=(len(trained.inputs), *brain.shape))
    smooth = uniform_filter(noise, (0, _SMOOTH, _SMOOTH, _SMOOTH))
    for values in (noise, smooth / smooth.std()):
        yield (values * brain).astype(np.float32), brain
    for case in cases:
        yield np.stack([case.volume(name) for name in trained.inputs]), case.brain


def classifier_parity(
    exported: OnnxNetwork, trained: Classifier, reference: dict[str, FeatureReference]
) -> dict[str, float]:
    """Compare the classifiers on made-up samples.

    Args:
        reference: mean and SD of each numeric feature that is read.

    Raises:
        RuntimeError: any probability differs by more than MOST_CLASSIFIER.
    """
    rng = np.random.default_rng(SEED)
    images = rng.random((2, SLICES, 3, trained.grid, trained.grid)).astype(np.float32)
    images[:, :, 2] = images[:, :, 2] > 0.5
    features = np.zeros((2, len(FEATURE_NAMES)), dtype=np.float32)
    for name, value in reference.items():
        features[:, FEATURE_NAMES.index(name)] = rng.normal(value.mean, value.sd, size=2)
    ours = exported({"images": images, "features": features})
    theirs = trained.predict(images, features)
    worst = max(
        float(np.abs(ours[name] - getattr(theirs, name)).max())
        for name in ("probability", "slice_probability", "uncertainty")
    )
    if not worst <= MOST_CLASSIFIER:
        raise RuntimeError(
            f"the exported classifier is {worst:.2g} away from the trained one, "
            f"at most {MOST_CLASSIFIER:g} is allowed"
        )
    return {"classifier": worst}


def answer_parity(
    exported: tuple[OnnxNetwork, OnnxNetwork],
    trained: tuple[Segmenter, Classifier],
    step: ServedStep,
    contents: Contents,
    cases: Sequence[PreparedCase],
) -> dict[str, float]:
    """Compare the probability of IDH mutation of prepared patients, from volumes to the answer.

    Raises RuntimeError: it differs by more than MOST_IDH, or only one of both finds a tumour.
    """
    worst = 0.0
    for case in cases:
        if case.age is None:
            continue
        tensors = request_tensors(case, contents)
        volumes = np.stack([case.volume(name) for name in trained[0].inputs])
        brain = case.brain.astype(np.uint8)
        maps = (
            exported[0]({"volumes": volumes, "brain": brain})["probability"],
            trained[0].probability(volumes, case.brain),
        )
        ours, theirs = (step.run(found, tensors) for found in maps)
        if ours.status is not theirs.status:
            raise RuntimeError(f"only one segmenter finds a tumour in patient {case.patient_id}")
        if ours.status is not Status.OK:
            continue
        inputs = {"images": ours.images[None], "features": ours.features[None].astype(np.float32)}
        one = float(exported[1](inputs)["probability"][0])
        other = float(trained[1].predict(theirs.images[None], theirs.features[None]).probability[0])
        worst = max(worst, abs(one - other))
    if not worst <= MOST_IDH:
        raise RuntimeError(
            f"the exported networks differ by {worst:.2g} in the probability of IDH mutation, "
            f"at most {MOST_IDH:g} is allowed"
        )
    return {"idh": worst}
