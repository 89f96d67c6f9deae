"""From the raw outputs of all networks to one calibrated prediction per patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from components.classify.data.samples import MemberSamples, Samples
from components.classify.inference.abstention import AbstentionLimits
from components.classify.inference.calibration import Calibrator, fit
from components.classify.inference.uncertainty import Reference, abstention_threshold, rms_distance
from components.classify.predictions import Predictions
from components.classify.settings import CalibrationKind, ClassifySettings
from components.classify.training.epochs import outputs

OOD_QUANTILE = 0.95
"""Held-out patients' distance that counts as 1."""

_PATIENTS_AT_A_TIME = 32


@dataclass(frozen=True)
class NetworkOutputs:
    """What the networks of one kind give for each patient; NaN where a member has learnt from him.

    Attributes:
        margins: float64 [members, n, seeds, slices].
        distances: float64 [members, n], mean over the seeds; NaN without references.
    """

    margins: np.ndarray
    distances: np.ndarray

    @classmethod
    def empty(cls, members: int, patients: int, seeds: int, slices: int) -> NetworkOutputs:
        """Nothing predicted yet."""
        return cls(
            np.full((members, patients, seeds, slices), np.nan),
            np.full((members, patients), np.nan),
        )

    def predict(
        self,
        member: MemberSamples,
        samples: Samples,
        networks: list[nn.Module],
        references: list[Reference] | None,
    ) -> None:
        """Fill in one member's outputs for the patients it has not learnt from."""
        rows = np.flatnonzero(predictable(member, samples))
        device = next(networks[0].parameters()).device
        for chunk in np.array_split(rows, -(-len(rows) // _PATIENTS_AT_A_TIME)):
            images = torch.from_numpy(samples.images(chunk)).to(device)
            features = torch.from_numpy(samples.features[chunk]).to(device, torch.float32)
            distances = np.zeros(len(chunk))
            for seed, network in enumerate(networks):
                margins, inner = outputs(network, images, features)
                self.margins[member.index, chunk, seed] = margins.cpu().numpy()
                if references is not None:
                    distances += references[seed].distance(inner.cpu()).numpy()
            if references is not None:
                self.distances[member.index, chunk] = distances / len(networks)


def predictable(member: MemberSamples, samples: Samples, *, unusable: bool = False) -> np.ndarray:
    """bool [n]: patients that this member has not learnt from; all of them for the only member.

    `unusable` keeps those without a tumour or with a number missing.
    """
    candidates = samples.usable | unusable
    if member.fold is None:
        return candidates
    own = (samples.fold == member.fold) | (samples.fold < 0) | ~samples.development
    return candidates & own


@dataclass(frozen=True)
class CalibratedModel:
    """A calibrated model: its predictions, and the numbers that serve it.

    Attributes:
        predictions: for every patient of the samples; held-out patients of a cross-validation are
            calibrated on the other folds.
        calibrator: fitted on all held-out patients.
        abstain_above: uncertainty above which a patient is not answered.
        ood_scale: distance that counts as 1.
    """

    predictions: Predictions
    calibrator: Calibrator
    abstain_above: float
    ood_scale: float


def calibrate(
    outputs: NetworkOutputs,
    samples: Samples,
    members: list[MemberSamples],
    settings: ClassifySettings,
) -> CalibratedModel:
    """Calibrate on held-out patients, and predict everybody."""
    held_out = {member.index: member.held_out for member in members}
    calibrator = _fit(outputs, samples, held_out, settings.calibration)
    probability = np.full(len(samples.patient_ids), np.nan)
    slices = np.full((len(probability), samples.slices), np.nan)
    uncertainty = probability.copy()
    everyone = np.flatnonzero(samples.usable)
    own = dict.fromkeys(everyone, calibrator)
    if len(members) > 1:
        for member in members:
            others = {k: rows for k, rows in held_out.items() if k != member.index}
            crossed = _fit(outputs, samples, others, settings.calibration)
            own |= dict.fromkeys(member.held_out, crossed)
    for i in everyone:
        asked = outputs.margins[:, i]
        single = own[i](asked[np.isfinite(asked[:, 0, 0])].reshape(-1, samples.slices))
        slices[i] = single.mean(axis=0)
        probability[i] = slices[i].mean()
        uncertainty[i] = rms_distance(torch.from_numpy(single[:, None])).item()
    learnt_on = np.concatenate(list(held_out.values()))
    threshold = abstention_threshold(uncertainty[learnt_on], settings.coverage)
    ood, scale = _ood(outputs, learnt_on)
    limits = AbstentionLimits(threshold, settings.ood_limit)
    abstained = samples.usable & limits.unsure(uncertainty)
    if ood is not None:
        abstained |= samples.usable & limits.unlike(ood)
    return CalibratedModel(
        Predictions(probability, slices, uncertainty, ood, abstained), calibrator, threshold, scale
    )


def _fit(
    outputs: NetworkOutputs,
    samples: Samples,
    held_out: dict[int, np.ndarray],
    kind: CalibrationKind,
) -> Calibrator:
    margins = np.concatenate([outputs.margins[k][rows] for k, rows in held_out.items()])
    rows = np.concatenate(list(held_out.values()))
    return fit(margins, samples.idh[rows], kind)


def _ood(outputs: NetworkOutputs, held_out: np.ndarray) -> tuple[np.ndarray | None, float]:
    if np.isnan(outputs.distances).all():
        return None, 1.0
    distance = mean_of_known(outputs.distances)
    scale = float(np.quantile(distance[held_out], OOD_QUANTILE))
    return distance / scale, scale


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean [n] over the members of [members, n] without NaN; NaN where all are."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
