"""Training of all four classifiers: who learns from whom, in which order, and what is written."""

from __future__ import annotations

import csv
import hashlib
import logging
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.classify.comparators.age import AgeModel, train_age
from components.classify.comparators.forest import Forest, permutation_importance, train_forest
from components.classify.data.samples import (
    MemberSamples,
    Samples,
    plan_classifier_members,
    read_samples,
)
from components.classify.data.selection import Selection, select
from components.classify.explanation.run_summary import write_explanations
from components.classify.inference.calibrated import (
    Judged,
    NetworkOutputs,
    calibrated_answers,
    may_ask,
)
from components.classify.inference.classifier import AGE_FILE, FOREST_FILE, MODEL_FILE
from components.classify.inference.uncertainty import Reference, risk_coverage
from components.classify.network.resnet import Hybrid, ResNet
from components.classify.predictions import Answers, write_predictions
from components.classify.settings import ClassifySettings
from components.classify.training.epochs import (
    ClassifierCurvePoint,
    Patients,
    StageTraining,
    outputs,
)
from components.core.device import choose_device
from components.core.files import atomic, read_json, sha256_file, write_json
from components.core.progress import Progress
from components.core.tables import write_csv
from components.core.vocabulary import FEATURE_NAMES, Model, Split
from components.features.extract import FEATURES_FILE, SAMPLES_FILE
from components.training.weights import prefixed, save_tensors

log = logging.getLogger(__name__)

CHECKPOINTS = ".checkpoints"
PREDICTIONS_FILE = "predictions.csv"
CURVES_FILE = "curves.csv"


@dataclass
class _Run:
    """What one call of `train_classifiers` gathers on its way."""

    samples: Samples
    members: list[MemberSamples]
    settings: ClassifySettings
    out: Path
    checkpoints: Path
    identity: str
    device: torch.device
    progress: Progress | None
    resnet: NetworkOutputs
    hybrid: NetworkOutputs
    described: list[dict[str, Any]] = field(default_factory=list)
    hybrids: list[list[nn.Module]] = field(default_factory=list)
    points: list[ClassifierCurvePoint] = field(default_factory=list)
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
        if self.progress:
            self.progress(min(self.done + done, self.total), self.total, what)


def train_classifiers(
    samples: Path,
    settings: ClassifySettings,
    out: Path,
    *,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Train ResNet, hybrid, random forest and age model; write the model folder and predictions.

    With folds in the samples there is one member a fold, trained on the other folds, and every
    development patient is answered by the member that has not seen it; others by the mean over
    members. Without, there is one member, tuned on the tuning patients. A killed run continues
    when called again with the same arguments.

    Writes model.json, hybrid_<k>.safetensors, resnet_<k>.safetensors, forest.json, age.json,
    curves.csv (learning curves), predictions.csv, and where the hybrid looks (see
    `write_explanations`).

    Args:
        samples: folder as `extract_samples` writes it.
        checkpoints: folder that outlives this process; inside `out` unless given.
        progress: called with (epochs done, epochs in all, network).

    Raises:
        BadInput: unreadable samples, too few patients, one class only.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    table = read_samples(samples)
    members = plan_classifier_members(table, settings.min_patients)
    shape = (len(members), len(table.patient_ids), settings.seeds, table.slices)
    identity = _identity(samples)
    run = _Run(
        table, members, settings, out,
        checkpoints / identity[:16] if checkpoints else out / CHECKPOINTS,
        identity, choose_device(settings.device, "classify.device"), progress,
        NetworkOutputs.empty(*shape), NetworkOutputs.empty(*shape),
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    forests, ages = [], []
    for member in members:
        selection = _train_networks(run, member)
        forest, age = _train_comparators(run, member, selection)
        forests.append(forest)
        ages.append(age)
    _write(run, forests, ages)
    shutil.rmtree(run.checkpoints, ignore_errors=True)


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


def test_sets(predictions: Path) -> list[str]:
    """Sets in predictions.csv that nothing was learnt from, sorted."""
    with predictions.open(newline="") as stream:
        found = {row["subset"] for row in csv.DictReader(stream)}
    return sorted(found - {Split.TRAINING.value, Split.TUNING.value})


def _identity(samples: Path) -> str:
    """Digest of the samples: the table holds numbers of every image's own mask and segmenter."""
    parts = [sha256_file(samples / name) for name in (FEATURES_FILE, SAMPLES_FILE)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _train_networks(run: _Run, member: MemberSamples) -> Selection:
    """Warm-up and hybrid of one member, all seeds; files and outputs are kept."""
    table, settings = run.samples, run.settings
    idh = table.idh[member.training]
    selection = select(table.features[member.training], idh, settings.selection_p)
    training = Patients.of(table, member.training, run.device)
    tuning = Patients.of(table, member.tuning, run.device) if len(member.tuning) else None
    warm: list[nn.Module] = []
    fine: list[nn.Module] = []
    references = []
    for seed in run.seeds:
        torch.manual_seed(seed * 1000 + member.index)
        resnet = ResNet(settings.network).to(run.device)
        hybrid = Hybrid(settings.network, selection).to(run.device)
        _train_stage(run, member, seed, resnet, training, tuning)
        hybrid.start_from(resnet)
        _train_stage(run, member, seed, hybrid, training, tuning)
        _, inner = outputs(hybrid, training.images, training.features)
        references.append(Reference.of(inner.cpu().double().numpy()))
        warm.append(resnet)
        fine.append(hybrid)
    run.resnet.ask(member, table, warm, None)
    run.hybrid.ask(member, table, fine, references)
    run.described.append(_keep_member(run, member, selection, warm, fine, references))
    run.hybrids.append(fine)
    return selection


def _train_stage(
    run: _Run,
    member: MemberSamples,
    seed: int,
    network: ResNet | Hybrid,
    training: Patients,
    tuning: Patients | None,
) -> None:
    fine = isinstance(network, Hybrid)
    stage = run.settings.fine if fine else run.settings.warm
    kind = Model.HYBRID if fine else Model.RESNET
    name = f"{kind.value}_{member.index}_{seed}"
    identity = run.identity + (run.settings.warm.digest() if fine else "")
    identity += f" {run.settings.selection_p}" if fine else ""
    trained = StageTraining(
        name, network, training, tuning, stage, run.settings, seed, identity, run.checkpoints
    )
    run.points += trained.run(run.report)
    run.done += stage.epochs


def _train_comparators(
    run: _Run, member: MemberSamples, selection: Selection
) -> tuple[Forest, AgeModel]:
    table, settings = run.samples, run.settings
    features, idh = table.features[member.training], table.idh[member.training]
    age = train_age(table.age[member.training], idh, balance=settings.balance)
    run.report(1, "age")
    forest = train_forest(
        features, idh, selection, settings.forest, settings.seed, balance=settings.balance
    )
    run.report(2, "forest")
    run.done += 2
    return forest, age


def _keep_member(
    run: _Run,
    member: MemberSamples,
    selection: Selection,
    warm: list[nn.Module],
    fine: list[nn.Module],
    references: list[Reference],
) -> dict[str, Any]:
    """Write one member's networks; returns its entry of model.json."""
    hybrids: dict[str, Tensor] = {}
    resnets: dict[str, Tensor] = {}
    for seed, resnet, hybrid, reference in zip(run.seeds, warm, fine, references, strict=True):
        own = prefixed("network", hybrid.state_dict())
        own |= {"ood_mean": reference.mean, "ood_precision": reference.precision}
        hybrids |= prefixed(f"seed_{seed}", own)
        resnets |= prefixed(f"seed_{seed}", prefixed("network", resnet.state_dict()))
    files = {}
    for kind, tensors in ((Model.HYBRID, hybrids), (Model.RESNET, resnets)):
        path = run.out / f"{kind.value}_{member.index}.safetensors"
        save_tensors(path, tensors, {"seeds": run.seeds, "member": member.index})
        files[kind.value] = {"file": path.name, "sha256": sha256_file(path)}
    names = run.samples.patient_ids
    return {
        **files,
        "fold": member.fold,
        "features": {
            "kept": list(selection.names),
            "p_values": dict(zip(FEATURE_NAMES, selection.p_values.tolist(), strict=True)),
            "mean": selection.mean.tolist(),
            "sd": selection.sd.tolist(),
        },
        "training_patients": names[member.training].tolist(),
        "held_out_patients": names[member.held_out].tolist(),
    }


def _forest_answers(run: _Run, forests: list[Forest]) -> Answers:
    everyone = np.full((len(forests), len(run.samples.patient_ids)), np.nan)
    for member, forest in zip(run.members, forests, strict=True):
        rows = may_ask(member, run.samples)
        everyone[member.index, rows] = forest.predict(run.samples.features[rows])
    return _mean_answers(everyone)


def _age_answers(run: _Run, ages: list[AgeModel]) -> Answers:
    """Age is answered without a tumour, too."""
    table = run.samples
    everyone = np.full((len(ages), len(table.patient_ids)), np.nan)
    for member, model in zip(run.members, ages, strict=True):
        rows = may_ask(member, table, unusable=True)
        everyone[member.index, rows] = model.predict(table.age[rows])
    return _mean_answers(everyone)


def _mean_answers(everyone: np.ndarray) -> Answers:
    """Mean over the members [members, n] that answered; NaN where none did."""
    known = np.isfinite(everyone)
    total = np.where(known, everyone, 0.0).sum(axis=0)
    return Answers(np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan))


def _write(run: _Run, forests: list[Forest], ages: list[AgeModel]) -> None:
    hybrid = calibrated_answers(run.hybrid, run.samples, run.members, run.settings)
    resnet = calibrated_answers(run.resnet, run.samples, run.members, run.settings)
    answers = {
        Model.HYBRID: hybrid.answers,
        Model.RESNET: resnet.answers,
        Model.RADIOMICS: _forest_answers(run, forests),
        Model.AGE: _age_answers(run, ages),
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
    write_predictions(run.out / PREDICTIONS_FILE, run.samples, answers, cross_fitted=cross_fitted)
    if run.settings.explain:
        probability, kept = hybrid.answers.probability, run.settings.explain
        write_explanations(run.out, run.samples, run.members, run.hybrids, probability, kept)
    _write_curves(run.out / CURVES_FILE, run.points)
    write_json(run.out / MODEL_FILE, _describe(run, hybrid, resnet, answers))


def _importance(run: _Run, forests: list[Forest]) -> list[dict[str, Any]]:
    """Of each member's forest on its held-out patients; empty where they are of one class."""
    found = []
    for member, forest in zip(run.members, forests, strict=True):
        features, idh = run.samples.features[member.held_out], run.samples.idh[member.held_out]
        both = len(set(idh.tolist())) == 2
        repeats, seed = run.settings.forest.repeats, run.settings.seed
        found.append(permutation_importance(forest, features, idh, repeats, seed) if both else {})
    return found


def _describe(
    run: _Run, hybrid: Judged, resnet: Judged, answers: dict[Model, Answers]
) -> dict[str, Any]:
    """model.json."""
    held_out = np.concatenate([member.held_out for member in run.members])
    idh = run.samples.idh[held_out]
    surest = hybrid.answers
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
        "ood": {"scale": hybrid.ood_scale, "limit": run.settings.ood_limit},
        "risk_coverage": risk_coverage(
            surest.uncertainty[held_out], surest.probability[held_out], idh
        ),
        "held_out_auroc": {
            model.value: _auroc(answer.probability[held_out], idh)
            for model, answer in answers.items()
        },
        "trained_on": run.samples.trained_on.value,
        "samples": description,
        "settings": run.settings.model_dump(mode="json"),
    }


def _auroc(probability: np.ndarray, idh: np.ndarray) -> float | None:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(idh, probability)) if len(set(idh.tolist())) == 2 else None


def _write_curves(path: Path, points: list[ClassifierCurvePoint]) -> None:
    names = [f.name for f in fields(ClassifierCurvePoint)]
    write_csv(path, names, map(asdict, points))
