"""Why a served answer: saliency of the classifier it came from, drawn over the slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.core.errors import BadInput
from components.core.vocabulary import SALIENCY_PARTS, Sequence
from serving.report.result import PatientResult

if TYPE_CHECKING:
    from components.classify.explanation.saliency import Explanation

MODEL_FOLDER = "classifier"
SAME_PROBABILITY = 2e-3
"""Largest difference to the served probability of a classifier that counts as the served one."""


@dataclass(frozen=True)
class Explained:
    """An answer, explained.

    Attributes:
        channels: sequences of the classifier's image, in channel order.
        images: [5, 3, y, x], what the classifier was given.
        explanation: of this patient alone.
    """

    channels: tuple[Sequence, Sequence]
    images: np.ndarray
    explanation: Explanation

    def saliency_of(self, sequence: Sequence) -> np.ndarray | None:
        """[5, y, x] on the network grid's slices; None for what the classifier does not see."""
        if sequence not in self.channels:
            return None
        return self.explanation.saliency[0, :, self.channels.index(sequence)]

    def shares(self) -> dict[str, dict[str, float]]:
        """Sequence -> share of its saliency "inside" the tumour, on its "rim" and "elsewhere"."""
        from components.classify.explanation.saliency import saliency_shares

        found = saliency_shares(self.explanation.saliency[0], self.images[:, 2])
        return {
            sequence.value: {
                part: float(share)
                for part, share in zip(SALIENCY_PARTS, row, strict=True)
                if np.isfinite(share)
            }
            for sequence, row in zip(self.channels, found, strict=True)
        }


def explain_answer(result: PatientResult, classifier: Path) -> Explained:
    """Explain a served answer.

    A release holds its networks as ONNX, which gives no gradients: they are taken from the trained
    classifier, after it has given the same answer.

    Args:
        result: with a tumour.
        classifier: the trained model's folder, or the folder of the run that holds it.

    Raises:
        BadInput: not a classifier's folder, or not that of this release.
    """
    from components.classify.explanation.saliency import explain
    from components.classify.inference.classifier import MODEL_FILE, Classifier
    from components.features.feature_slice import StepSpec, step_from_mask
    from components.preprocess.atlas.regions import atlas_of
    from components.segment.inference.mask import MaskRule

    answer, case, contents = result.answer, result.case, result.contents
    folder = classifier if (classifier / MODEL_FILE).is_file() else classifier / MODEL_FOLDER
    model = Classifier.load(folder)
    plan = contents.plan
    rule = MaskRule(contents.threshold, min_ml=0.0)
    spec = StepSpec(rule, contents.channels, plan.clip, atlas_of(plan.atlas_files))
    volumes = {sequence: case.volume(sequence) for sequence in contents.channels}
    age = float("nan") if case.age is None else case.age
    where = (case.brain, case.grid, case.working, case.to_mni)
    step = step_from_mask(answer.mask, volumes, *where, age, spec)
    images, features = step.images[None], step.features[None]
    found = float(model.predict(images, features).probability[0])
    if answer.probability is None or abs(found - answer.probability) > SAME_PROBABILITY:
        raise BadInput(
            folder,
            f"answers {found:.3f} where {answer.release} answers {answer.probability:.3f}",
            "give the classifier that this release was exported from",
        )
    return Explained(contents.channels, images[0], explain(model, images, features))


def draw_explained(path: Path, result: PatientResult, explained: Explained) -> None:
    """Write the picture of an answer's explanation; see `draw_explanation`."""
    from components.classify.explanation.figure import draw_explanation

    answer, case = result.answer, result.case
    aspect = case.grid.spacing[1] / case.grid.spacing[0]
    heading = f"{case.patient_id}: P(IDH mutant) = {answer.probability:.2f}, {answer.release}"
    draw_explanation(
        path,
        explained.images,
        explained.explanation,
        explained.channels,
        heading,
        aspect=aspect,
    )
