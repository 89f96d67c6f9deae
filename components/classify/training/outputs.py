"""What a training of the classifiers leaves: model folder, curves, metrics."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from components.classify.comparators.age import AgeModel
from components.classify.comparators.forest import Forest, permutation_importance
from components.classify.data.samples import MemberSamples, Samples
from components.classify.explanation.run_summary import write_explanations
from components.classify.inference.calibrated import (
    CalibratedModel,
    NetworkOutputs,
    calibrate,
    mean_of_known,
    predictable,
)
from components.classify.inference.classifier import AGE_FILE, FOREST_FILE, MODEL_FILE
from components.classify.inference.conformal import ConformalCalibration
from components.classify.inference.uncertainty import risk_coverage
from components.classify.predictions import Predictions, write_predictions
from components.classify.settings import ClassifySettings
from components.classify.training.epochs import ClassifierCurvePoint
from components.core.files import atomic, read_json, write_json
from components.core.progress import Progress
from components.core.tables import read_csv, write_records
from components.core.vocabulary import LEARNT, Model

CHECKPOINTS = ".checkpoints"
PREDICTIONS_FILE = "predictions.csv"
CURVES_FILE = "curves.csv"


@dataclass
class ClassifierRun:
    """What one call of `train_classifiers` gathers on its way."""

    samples: Samples
    members: list[MemberSamples]
    settings: ClassifySettings
    out: Path
    checkpoints: Path
    identity: str
    device: torch.device
    progress: Progress
    resnet: NetworkOutputs
    hybrid: NetworkOutputs
    described: list[dict[str, Any]] = field(default_factory=list)
    hybrids: list[list[nn.Module]] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0

    @property
    def seeds(self) -> list[int]:
        """Seeds of each member's networks."""
        return list(range(self.settings.seed, self.settings.seed + self.settings.seeds))

    @property
    def total(self) -> int:
        """Epochs to train, and one unit for each comparator."""
        epochs = self.settings.warm.epochs + self.settings.fine.epochs
        return len(self.members) * (len(self.seeds) * epochs + 2)

    def report(self, done: int, what: str) -> None:
        """Tell the caller."""
        self.progress(min(self.done + done, self.total), self.total, what)


def write_classifier_outputs(model: Path, predictions: Path, metrics: Path) -> dict[str, float]:
    """Copy the predictions and write the held-out numbers (JSON) where a pipeline wants them.

    Returns the numbers by name.
    """
    numbers = read_json(model / MODEL_FILE)["held_out_auroc"]
    summary = {f"held_out_auroc_{k}": v for k, v in numbers.items() if v is not None}
    with atomic(predictions) as temporary:
        shutil.copyfile(model / PREDICTIONS_FILE, temporary)
    write_json(metrics, summary)
    return summary


def evaluation_sets(predictions: Path) -> list[str]:
    """Sets in predictions.csv that nothing was learnt from, sorted."""
    return sorted({row["subset"] for row in read_csv(predictions)}.difference(LEARNT))


def write_model(run: ClassifierRun, forests: list[Forest], ages: list[AgeModel]) -> None:
    """Calibrate, predict every patient, and write the model folder's files beside the weights."""
    hybrid = calibrate(run.hybrid, run.samples, run.members, run.settings)
    resnet = calibrate(run.resnet, run.samples, run.members, run.settings)
    conformal = _conformal(run, hybrid)
    predictions = {
        Model.HYBRID: _with_sets(run, hybrid.predictions, conformal),
        Model.RESNET: resnet.predictions,
        Model.RADIOMICS: _forest_predictions(run, forests),
        Model.AGE: _age_predictions(run, ages),
    }
    write_json(
        run.out / FOREST_FILE,
        {
            "members": [forest.to_json() for forest in forests],
            "permutation_importance": _importance(run, forests),
        },
    )
    write_json(run.out / AGE_FILE, {"members": [age.to_json() for age in ages]})
    cross_fitted = len(run.members) > 1
    write_predictions(
        run.out / PREDICTIONS_FILE, run.samples, predictions, cross_fitted=cross_fitted
    )
    if run.settings.explain:
        probability, kept = hybrid.predictions.probability, run.settings.explain
        write_explanations(run.out, run.samples, run.members, run.hybrids, probability, kept)
    write_records(run.out / CURVES_FILE, ClassifierCurvePoint, run.points)
    write_json(run.out / MODEL_FILE, _describe(run, hybrid, resnet, predictions, conformal))


def _conformal(run: ClassifierRun, hybrid: CalibratedModel) -> ConformalCalibration | None:
    level, rows = run.settings.conformal, _held_out(run)
    if level is None:
        return None
    probability = hybrid.predictions.probability[rows]
    return ConformalCalibration.of(level, probability, run.samples.idh[rows])


def _with_sets(
    run: ClassifierRun, found: Predictions, conformal: ConformalCalibration | None
) -> Predictions:
    """The hybrid's predictions with the set of everyone answered who did not calibrate it."""
    if conformal is None:
        return found
    other = np.isfinite(found.probability)
    other[_held_out(run)] = False
    sets = tuple(
        conformal.idh_set(p) if new else None
        for p, new in zip(found.probability, other, strict=True)
    )
    return replace(found, sets=sets, set_level=conformal.level)


def _held_out(run: ClassifierRun) -> np.ndarray:
    """Rows of all members' held-out patients."""
    return np.concatenate([member.held_out for member in run.members])


def _forest_predictions(run: ClassifierRun, forests: list[Forest]) -> Predictions:
    found = np.full((len(forests), len(run.samples.patient_ids)), np.nan)
    for member, forest in zip(run.members, forests, strict=True):
        rows = predictable(member, run.samples)
        found[member.index, rows] = forest.predict(run.samples.features[rows])
    return Predictions(mean_of_known(found))


def _age_predictions(run: ClassifierRun, ages: list[AgeModel]) -> Predictions:
    """Age predicts patients without a tumour, too."""
    found = np.full((len(ages), len(run.samples.patient_ids)), np.nan)
    for member, model in zip(run.members, ages, strict=True):
        rows = predictable(member, run.samples, unusable=True)
        found[member.index, rows] = model.predict(run.samples.age[rows])
    return Predictions(mean_of_known(found))


def _importance(run: ClassifierRun, forests: list[Forest]) -> list[dict[str, Any]]:
    """Of each member's forest on its held-out patients; empty where they are of one class."""
    found = []
    for member, forest in zip(run.members, forests, strict=True):
        features, idh = run.samples.features[member.held_out], run.samples.idh[member.held_out]
        both = len(set(idh.tolist())) == 2
        repeats, seed = run.settings.forest.repeats, run.settings.seed
        found.append(permutation_importance(forest, features, idh, repeats, seed) if both else {})
    return found


def _describe(
    run: ClassifierRun,
    hybrid: CalibratedModel,
    resnet: CalibratedModel,
    predictions: dict[Model, Predictions],
    conformal: ConformalCalibration | None,
) -> dict[str, Any]:
    """model.json."""
    held_out = _held_out(run)
    idh = run.samples.idh[held_out]
    surest = hybrid.predictions
    assert surest.uncertainty is not None
    description = run.samples.description
    return {
        "architecture": {"network": run.settings.network.model_dump(mode="json")},
        "channels": description["channels"],
        "grid": description["grid"],
        "members": run.described,
        "seeds": run.seeds,
        "temperature": hybrid.calibrator.temperature,
        "shift": hybrid.calibrator.shift,
        "resnet": {
            "temperature": resnet.calibrator.temperature,
            "shift": resnet.calibrator.shift,
        },
        "abstention": {"threshold": hybrid.abstain_above, "coverage": run.settings.coverage},
        "conformal": None if conformal is None else conformal.model_dump(mode="json"),
        "ood": {"scale": hybrid.ood_scale, "limit": run.settings.ood_limit},
        "risk_coverage": risk_coverage(
            surest.uncertainty[held_out], surest.probability[held_out], idh
        ),
        "held_out_auroc": {
            model.value: _auroc(found.probability[held_out], idh)
            for model, found in predictions.items()
        },
        "trained_on": run.samples.trained_on.value,
        "samples": description,
        "settings": run.settings.model_dump(mode="json"),
    }


def _auroc(probability: np.ndarray, idh: np.ndarray) -> float | None:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(idh, probability)) if len(set(idh.tolist())) == 2 else None
