"""The paper's own figures (Choi et al. 2021, Tables 2 and 3), to stand beside ours."""

from __future__ import annotations

from dataclasses import dataclass

from components.core.vocabulary import Model

CITATION = (
    "Choi YS, Bae S, Chang JH, et al. Fully automated hybrid approach to predict the IDH mutation"
    " status of gliomas via deep learning and radiomics. Neuro-Oncology 2021;23(2):304-313."
)

Triple = tuple[float, float, float]
"""Value, lower and upper end of the 95 % confidence interval."""


@dataclass(frozen=True)
class PaperFigures:
    """Figures of one model on one test set; accuracy as a share."""

    accuracy: float
    auroc: Triple
    auprc: Triple


PATIENTS = {"internal": 129, "snuh": 107, "tcia": 203}
DICE = {"internal": (0.91, 0.04), "snuh": (0.92, 0.01), "tcia": (0.86, 0.08)}
"""Mean and SD of the segmenter's Dice; read by the report's template."""

PER_PATIENT: dict[str, dict[Model, PaperFigures]] = {
    "internal": {
        Model.HYBRID: PaperFigures(0.938, (0.96, 0.93, 0.99), (0.88, 0.72, 0.98)),
        Model.RESNET: PaperFigures(0.922, (0.95, 0.90, 0.98), (0.87, 0.72, 0.97)),
        Model.RADIOMICS: PaperFigures(0.853, (0.90, 0.83, 0.96), (0.85, 0.74, 0.93)),
        Model.AGE: PaperFigures(0.721, (0.74, 0.63, 0.84), (0.44, 0.32, 0.59)),
    },
    "snuh": {
        Model.HYBRID: PaperFigures(0.879, (0.94, 0.89, 0.97), (0.82, 0.65, 0.94)),
        Model.RESNET: PaperFigures(0.841, (0.91, 0.84, 0.96), (0.81, 0.67, 0.91)),
        Model.RADIOMICS: PaperFigures(0.794, (0.87, 0.80, 0.93), (0.65, 0.48, 0.85)),
        Model.AGE: PaperFigures(0.748, (0.81, 0.71, 0.89), (0.51, 0.36, 0.72)),
    },
    "tcia": {
        Model.HYBRID: PaperFigures(0.788, (0.86, 0.80, 0.91), (0.81, 0.71, 0.88)),
        Model.RESNET: PaperFigures(0.735, (0.81, 0.74, 0.87), (0.74, 0.63, 0.83)),
        Model.RADIOMICS: PaperFigures(0.754, (0.84, 0.78, 0.90), (0.77, 0.67, 0.86)),
        Model.AGE: PaperFigures(0.685, (0.77, 0.70, 0.84), (0.68, 0.57, 0.80)),
    },
}

PER_SLICE: dict[str, dict[Model, PaperFigures]] = {
    "internal": {
        Model.HYBRID: PaperFigures(0.905, (0.96, 0.95, 0.97), (0.88, 0.82, 0.93)),
        Model.RESNET: PaperFigures(0.887, (0.94, 0.92, 0.96), (0.86, 0.80, 0.91)),
    },
    "snuh": {
        Model.HYBRID: PaperFigures(0.849, (0.93, 0.90, 0.95), (0.81, 0.74, 0.87)),
        Model.RESNET: PaperFigures(0.815, (0.90, 0.87, 0.92), (0.79, 0.73, 0.85)),
    },
    "tcia": {
        Model.HYBRID: PaperFigures(0.771, (0.84, 0.81, 0.86), (0.79, 0.74, 0.83)),
        Model.RESNET: PaperFigures(0.744, (0.79, 0.77, 0.82), (0.72, 0.68, 0.77)),
    },
}
"""The intervals are as narrow as resampling slices, not patients, makes them."""

ABLATED_LESS = {"accuracy": (0.678, 0.868), "auroc": (0.71, 0.93), "auprc": (0.62, 0.84)}
"""Ranges over the test sets of the conventional ResNet with fewer slices, fewer sequences, or the
brain outside the tumour masked (Choi et al. 2021, Results; eTable 4)."""

ABLATED_TUMOR = {"accuracy": (0.584, 0.721), "auroc": (0.55, 0.71), "auprc": (0.37, 0.47)}
"""The same with the tumour masked out."""

_KINDS = {"internal": "internal", "snuh": "snuh", "tcia": "tcia", "tcga": "tcia"}


def counterpart(name: str) -> str | None:
    """The paper's test set that a set of ours stands for, by its name; None when there is none."""
    return next((paper for word, paper in _KINDS.items() if word in name.lower()), None)
