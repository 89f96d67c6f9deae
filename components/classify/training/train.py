"""Training of all four classifiers: who learns from whom, in which order, and what is written."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.classify.comparators.age import AgeModel, train_age
from components.classify.comparators.forest import Forest, train_forest
from components.classify.data.samples import MemberSamples, plan_classifier_members, read_samples
from components.classify.data.selection import Selection, select
from components.classify.inference.calibrated import NetworkOutputs
from components.classify.inference.conformal import check_level
from components.classify.inference.uncertainty import Reference
from components.classify.network.resnet import Hybrid, ResNet
from components.classify.settings import ClassifySettings
from components.classify.training.epochs import Patients, StageTraining, outputs
from components.classify.training.outputs import CHECKPOINTS, ClassifierRun, write_model
from components.core.device import choose_device
from components.core.files import sha256_file
from components.core.progress import Progress, silent
from components.core.vocabulary import FEATURE_NAMES, Idh, Model
from components.features.extract import FEATURES_FILE, SAMPLES_FILE
from components.training.weights import prefixed, save_tensors

log = logging.getLogger(__name__)


def train_classifiers(
    samples: Path,
    settings: ClassifySettings,
    out: Path,
    *,
    checkpoints: Path | None = None,
    progress: Progress = silent,
) -> None:
    """Train ResNet, hybrid, random forest and age model; write the model folder and predictions.

    With folds in the samples there is one member a fold, trained on the other folds, and every
    development patient is predicted by the member that has not seen it; others by the mean over
    members. Without, there is one member, tuned on the tuning patients. An interrupted run resumes
    when called again with the same arguments.

    Writes model.json, hybrid_<k>.safetensors, resnet_<k>.safetensors, forest.json, age.json,
    curves.csv (learning curves), predictions.csv, and where the hybrid looks (see
    `write_explanations`).

    Args:
        samples: folder as `extract_samples` writes it.
        checkpoints: folder that outlives this process; inside `out` unless given.
        progress: called with (epochs done, epochs in all, network).

    Raises:
        BadInput: unreadable samples, too few patients, one class only, or too few held out for
            the level of the conformal sets.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    table = read_samples(samples)
    members = plan_classifier_members(table, settings.min_patients)
    if settings.conformal is not None:
        held_out = table.idh[np.concatenate([member.held_out for member in members])]
        check_level(settings.conformal, {s: int((held_out == s).sum()) for s in Idh})
    shape = (len(members), len(table.patient_ids), settings.seeds, table.slices)
    identity = _identity(samples)
    run = ClassifierRun(
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
    write_model(run, forests, ages)
    shutil.rmtree(run.checkpoints, ignore_errors=True)


def _identity(samples: Path) -> str:
    """Digest of the samples: the table holds numbers of every image's own mask and segmenter."""
    parts = [sha256_file(samples / name) for name in (FEATURES_FILE, SAMPLES_FILE)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _train_networks(run: ClassifierRun, member: MemberSamples) -> Selection:
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
    run.resnet.predict(member, table, warm, None)
    run.hybrid.predict(member, table, fine, references)
    run.described.append(_keep_member(run, member, selection, warm, fine, references))
    run.hybrids.append(fine)
    return selection


def _train_stage(
    run: ClassifierRun,
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
    run: ClassifierRun, member: MemberSamples, selection: Selection
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
    run: ClassifierRun,
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
