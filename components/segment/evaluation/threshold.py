"""From trained members to a deployable model: held-out Dice, and the threshold that serves it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from components.cohort.prepared import PreparedCase
from components.core.imaging.grid import resample
from components.segment.evaluation.metrics import Agreement
from components.segment.inference.mask import THRESHOLDS, MaskRule, confidences
from components.segment.inference.segmenter import Segmenter


@dataclass(frozen=True)
class HeldOut:
    """One case and the probability of the member that has not seen it, on the network grid."""

    member: int
    case: PreparedCase
    probability: np.ndarray

    @cached_property
    def curve(self) -> np.ndarray:
        """Dice on the working grid at every candidate threshold, islands included."""
        truth = self.case.tumor_working
        assert truth is not None
        on_working = resample(self.probability, self.case.grid, self.case.working)
        edges = [-np.inf, *THRESHOLDS, np.inf]
        inside = np.histogram(on_working[truth], edges)[0][::-1].cumsum()[::-1][1:]
        everywhere = np.histogram(on_working, edges)[0][::-1].cumsum()[::-1][1:]
        return 2.0 * inside / np.maximum(everywhere + truth.sum(), 1)

    def curve_with(self, doubt: float) -> np.ndarray:
        """`curve` as MaskRule would have it: its own best guess where the candidate is in doubt."""
        expected = confidences(self.probability.astype(np.float32))
        return np.where(expected < doubt, self.curve[expected.argmax()], self.curve)


@dataclass(frozen=True)
class Row:
    """One row of tuning.csv."""

    patient_id: str
    member: int
    threshold: float
    dice: float
    hd95_mm: float | None
    predicted_ml: float
    true_ml: float
    confidence: float


def best_threshold(curves: list[np.ndarray]) -> float:
    """The candidate with the best mean Dice over cases; of equals, the one nearest 0.5."""
    mean = np.mean(curves, axis=0)
    tied = [t for t, value in zip(THRESHOLDS, mean, strict=True) if value >= mean.max() - 1e-9]
    return float(min(tied, key=lambda t: abs(t - 0.5)))


def predict_held_out(
    segmenter: Segmenter, member: int, cases: tuple[PreparedCase, ...]
) -> list[HeldOut]:
    """Probabilities of one member on the cases it was not trained on."""
    results = []
    for case in cases:
        volumes = np.stack([case.volume(sequence) for sequence in segmenter.inputs])
        probability = segmenter.probability(volumes, case.brain, member)
        results.append(HeldOut(member, case, probability.astype(np.float16)))
    return results


def cross_fitted_thresholds(held_out: list[HeldOut], doubt: float) -> dict[int, float]:
    """Threshold to report each member with: chosen on the other members' cases.

    With a single member there are no others, and its own tuning cases serve.
    """
    members = sorted({h.member for h in held_out})
    curves = [(h.member, h.curve_with(doubt)) for h in held_out]
    if len(members) == 1:
        return {members[0]: best_threshold([curve for _, curve in curves])}
    return {m: best_threshold([curve for k, curve in curves if k != m]) for m in members}


def evaluate_members(held_out: HeldOut, rule: MaskRule) -> Row:
    """Compare one prediction with the manual mask on the working grid."""
    case = held_out.case
    truth = case.tumor_working
    assert truth is not None
    probability = held_out.probability.astype(np.float32)
    mask = rule.mask(probability, case.grid, case.working)
    return Row(
        patient_id=case.patient_id,
        member=held_out.member,
        threshold=rule.threshold_for(probability),
        **asdict(Agreement.of(mask, truth, case.working)),
        confidence=rule.confidence(probability),
    )
