"""Why a served answer: saliency of the classifier it came from, drawn over the judged slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components.cohort.errors import BadInput
from components.cohort.prepared import PreparedCase
from serving.contents import Contents
from serving.request import Answer

MODEL_FOLDER = "classifier"
SAME_PROBABILITY = 2e-3
"""Largest difference to the served probability of a classifier that counts as the served one."""


def draw_answer_explanation(
    path: Path, answer: Answer, case: PreparedCase, contents: Contents, classifier: Path
) -> dict[str, dict[str, float]]:
    """Write the picture of an answer's explanation (see `draw_explanation`).

    A release holds its networks as ONNX, which gives no gradients: they are taken from the trained
    classifier, after it has given the same answer.

    Args:
        answer: with a tumour.
        classifier: the trained model's folder, or the folder of the run that holds it.

    Returns:
        sequence -> share of its saliency "inside" the tumour, on its "rim" and "elsewhere".

    Raises:
        BadInput: not a classifier's folder, or not that of this release.
    """
    from components.classify.explain import PLACES, explain, places
    from components.classify.explanation_figure import draw_explanation
    from components.classify.infer import MODEL_FILE, Classifier
    from components.features.step import StepSpec, step_from_mask
    from components.preprocess.atlas import atlas_of
    from components.segment.mask import MaskRule

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
    explanation = explain(model, images, features)
    aspect = case.grid.spacing[1] / case.grid.spacing[0]
    heading = f"{case.patient_id}: P(IDH mutant) = {answer.probability:.2f}, {answer.release}"
    draw_explanation(path, images[0], explanation, contents.channels, heading, aspect=aspect)
    shares = places(explanation.saliency[0], images[0, :, 2])
    return {
        sequence.value: {
            place: float(share)
            for place, share in zip(PLACES, row, strict=True)
            if np.isfinite(share)
        }
        for sequence, row in zip(contents.channels, shares, strict=True)
    }
