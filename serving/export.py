"""Export: the trained models as a Triton model repository, sealed by release.json."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.cohort.prepared import PreparedCase
from components.core.errors import BadInput
from components.core.files import atomic, sha256_tree, write_json
from components.core.vocabulary import FEATURE_NAMES, Origin
from components.features.feature_slice import StepSpec
from components.preprocess.atlas.regions import atlas_of
from components.preprocess.plan import PreprocessingPlan
from components.release.inference.ensemble import ServedStep
from components.release.inference.onnx_network import OnnxNetwork
from components.release.manifest import Contents, FeatureReference, ReleaseManifest
from components.release.release import (
    PLAN_FILE,
    VERSION,
    Release,
    network_file,
    read_release,
    release_id,
)
from components.release.settings import ServingSettings
from components.release.tensors import ENSEMBLES, Step
from serving.parity import answer_parity, classifier_parity, segmenter_parity
from serving.triton.config import NETWORKS, model_configs
from serving.triton.models import write_model_code

if TYPE_CHECKING:
    from components.classify.inference.classifier import Classifier
    from components.segment.inference.segmenter import Segmenter

log = logging.getLogger(__name__)


def export_release(
    segmenter: Path,
    classifier: Path,
    plan: PreprocessingPlan,
    out: Path,
    *,
    profile: str,
    settings: ServingSettings,
    cases: Sequence[PreparedCase] = (),
) -> Release:
    """Write the Triton repository `out`, whole or not at all.

    Holds the ensembles glioma_idh and glioma_idh_images, their models, plan.json, and
    release.json, which names every file with its sha256. Exported networks are compared with
    the trained ones first.

    Args:
        segmenter: model folder of the segmenter.
        classifier: model folder of the classifier.
        plan: the plan both were trained with.
        profile: name of the profile, for readers.
        cases: prepared patients on whom exported and trained networks are compared too.

    Raises:
        BadInput: a model folder is not whole, or the two models and the plan do not belong
            together.
        RuntimeError: an exported network does not answer like the trained one.
    """
    from components.classify.inference.classifier import Classifier
    from components.segment.inference.segmenter import Segmenter

    first, second = Segmenter.load(segmenter), Classifier.load(classifier)
    contents = _contents(first, second, plan, profile)
    atlas = atlas_of(plan.atlas_files)
    if atlas.sha256 != plan.atlas.sha256:
        raise BadInput("atlas", "it is not the plan's", "make it available, or train again")
    spec = StepSpec(first.rule, second.channels, plan.clip, atlas)
    with atomic(out) as temporary:
        _lay_out(temporary, contents, settings)
        _export_networks(temporary, segmenter, classifier, settings)
        step = ServedStep(spec, plan.working_mm)
        step.write(temporary / Step.FEATURE_SLICE / VERSION)
        write_json(temporary / PLAN_FILE, plan.model_dump(mode="json"))
        parity = _parity(temporary, (first, second), step, contents, cases)
        release = _seal(temporary, contents, settings, parity)
    log.info("exported %s", release)
    return read_release(out)


def _contents(
    segmenter: Segmenter, classifier: Classifier, plan: PreprocessingPlan, profile: str
) -> Contents:
    digest = plan.digest()
    for name, found in {
        "segmenter/model.json": segmenter.plan_digest,
        "classifier/model.json": classifier.description["samples"]["plan_digest"],
    }.items():
        if found != digest:
            raise BadInput(
                name, f"trained with plan {found[:12]}, not {digest[:12]}", "train it again"
            )
    if not segmenter.grid == classifier.grid == plan.grid:
        sides = f"{segmenter.grid}, {classifier.grid} and {plan.grid}"
        raise BadInput("models and plan", f"grids of {sides} voxels a side", "train again")
    phantoms = Origin.PHANTOMS in (segmenter.trained_on, classifier.trained_on)
    return Contents(
        profile=profile,
        trained_on=Origin.PHANTOMS if phantoms else Origin.PATIENTS,
        grid=plan.grid,
        segmenter=segmenter.inputs,
        channels=classifier.channels,
        threshold=segmenter.rule.threshold,
        plan=plan,
        abstain_above=classifier.abstain_above,
        ood_limit=classifier.ood_limit,
        conformal=classifier.conformal,
        features=_reference(classifier.description["members"]),
    )


def _reference(members: list[dict[str, Any]]) -> dict[str, FeatureReference]:
    """Features that any member reads, averaged over those that do."""
    found: dict[str, FeatureReference] = {}
    for name in FEATURE_NAMES:
        readers = [m["features"] for m in members if name in m["features"]["kept"]]
        if not readers:
            continue
        places = [reader["kept"].index(name) for reader in readers]
        pairs = list(zip(readers, places, strict=True))
        found[name] = FeatureReference(
            mean=float(np.mean([reader["mean"][place] for reader, place in pairs])),
            sd=float(np.mean([reader["sd"][place] for reader, place in pairs])),
            p=float(np.median([reader["p_values"][name] for reader in readers])),
        )
    return found


def _lay_out(folder: Path, contents: Contents, settings: ServingSettings) -> None:
    """Folders, config.pbtxt, model.py and contents.json of every model."""
    parameters = {"contents": contents.model_dump_json()}
    for name, config in model_configs(contents.interface, settings, parameters).items():
        version = folder / name / VERSION
        version.mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(config)
    for step in Step:
        name = "network" if step in NETWORKS else step.value
        write_model_code(folder / step / VERSION, name)
    # Ensembles have no files, but their version folders must survive stores that drop empty ones.
    for name in (*ENSEMBLES, Step.PREPARE, Step.CHECK, Step.ANSWER, Step.FINISH):
        contents.write(folder / name / VERSION)


def _export_networks(
    folder: Path, segmenter: Path, classifier: Path, settings: ServingSettings
) -> None:
    from components.classify.network.export import export_onnx as export_classifier
    from components.segment.network.export import export_onnx as export_segmenter

    export_segmenter(segmenter, network_file(folder, Step.SEGMENTER))
    export_classifier(classifier, network_file(folder, Step.CLASSIFIER))


def _parity(
    folder: Path,
    trained: tuple[Segmenter, Classifier],
    step: ServedStep,
    contents: Contents,
    cases: Sequence[PreparedCase],
) -> dict[str, float]:
    segmenter, classifier = trained
    exported = (
        OnnxNetwork(network_file(folder, Step.SEGMENTER)),
        OnnxNetwork(network_file(folder, Step.CLASSIFIER)),
    )
    return {
        **segmenter_parity(exported[0], segmenter, cases),
        **classifier_parity(exported[1], classifier, contents.features),
        **answer_parity(exported, trained, step, contents, cases),
    }


def _seal(
    folder: Path, contents: Contents, settings: ServingSettings, parity: dict[str, float]
) -> str:
    files = sha256_tree(folder)
    release = release_id(files)
    ReleaseManifest(
        release=release,
        profile=contents.profile,
        trained_on=contents.trained_on,
        plan=contents.plan_digest,
        settings=settings,
        parity=parity,
        research_use_only=True,
        files=files,
    ).write(folder)
    return release
