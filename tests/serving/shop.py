"""A release trained in seconds on synthetic cases, by the rooms' own trainers."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from components.classify.settings import (
    ClassifySettings,
    ForestSettings,
    ResNetSettings,
    StageSettings,
)
from components.classify.training.train import train_classifiers
from components.cohort.prepared import PreparedCase
from components.core.files import sha256_tree, write_json
from components.features.extract import extract_samples
from components.features.settings import FeatureSettings
from components.preprocess.plan import PreprocessingPlan, make_plan
from components.preprocess.settings import (
    AlignSettings,
    BiasSettings,
    PreprocessSettings,
)
from components.release.inference.ensemble import ServedStep
from components.release.manifest import RELEASE_FILE
from components.release.release import VERSION, Release, network_file, read_release, release_id
from components.release.settings import ServingSettings
from components.release.tensors import Step
from components.segment.settings import SegmentSettings, UNetSettings
from components.segment.training.train import train_segmenter
from serving.export import export_release
from tests.factories import make_prepared_case, write_prepared_set

PREPROCESS = PreprocessSettings(grid=24, working_mm=4.0)
"""Grid and working grid of the synthetic cases."""

QUICK = PreprocessSettings(
    grid=24,
    working_mm=4.0,
    align=AlignSettings(levels_mm=(8.0,), samples=6000, iterations=15, starts=1),
    mni=AlignSettings(
        degrees_of_freedom=12, levels_mm=(8.0,), samples=6000, iterations=20, starts=1
    ),
    bias=BiasSettings(spacing_mm=8.0, iterations=(8, 8)),
)
"""The same, preparing images in little time and with little care."""

SEGMENT = SegmentSettings(
    network=UNetSettings(width=4, levels=3, dropout=0.0),
    steps=60,
    evaluate_every=0,
    checkpoint_every=100,
    learning_rate=1e-2,
    ema_decay=0.8,
    batch_size=1,
    flips=True,
    threads=1,
)
CLASSIFY = ClassifySettings(
    network=ResNetSettings(blocks=(1, 1, 1, 1), width=4, frozen=1),
    forest=ForestSettings(trees=5, folds=2, min_leaf=(1,), max_features=(0.5,), repeats=1),
    warm=StageSettings(epochs=1),
    fine=StageSettings(epochs=1),
    seeds=2,
    min_patients=4,
    selection_p=1.0,
    conformal=0.5,
    threads=1,
)
SERVING = ServingSettings(threads=1)
PATIENTS = 12


@dataclass(frozen=True)
class Shop:
    """Everything an export needs, and what it made."""

    plan: PreprocessingPlan
    segmenter: Path
    classifier: Path
    release: Release

    def case(self, seed: int, **options: object) -> PreparedCase:
        """A patient the models have not seen, prepared by the release's plan."""
        made = make_prepared_case(1000 + seed, **options)  # type: ignore[arg-type]
        return replace(made, plan_digest=self.plan.digest(), subset="new", fold=None)


def build(root: Path, preprocess: PreprocessSettings = PREPROCESS) -> Shop:
    """Train and export; the same shop every time."""
    plan = make_plan(preprocess)
    cases = [
        replace(make_prepared_case(seed, fold=seed % 2), plan_digest=plan.digest())
        for seed in range(PATIENTS)
    ]
    prepared = write_prepared_set(root / "prepared", cases)
    write_json(prepared / "plan.json", plan.model_dump(mode="json"))
    train_segmenter([prepared], SEGMENT, root / "segmenter")
    extract_samples([prepared], root / "segmenter", FeatureSettings(), root / "samples")
    train_classifiers(root / "samples", CLASSIFY, root / "classifier")
    release = export_release(
        root / "segmenter",
        root / "classifier",
        plan,
        root / "repository",
        profile="test",
        settings=SERVING,
    )
    return Shop(plan, root / "segmenter", root / "classifier", release)


def altered(
    release: Release, folder: Path, *, threshold: float | None = None, segmenter: bytes = b""
) -> Release:
    """A whole release like another but for one thing, sealed again."""
    shutil.copytree(release.folder, folder)
    if threshold is not None:
        path = folder / Step.FEATURE_SLICE / VERSION / ServedStep.SPEC_FILE
        content = json.loads(path.read_text())
        content["rule"]["threshold"] = threshold
        write_json(path, content)
    if segmenter:
        network_file(folder, Step.SEGMENTER).write_bytes(segmenter)
    files = sha256_tree(folder)
    files.pop(RELEASE_FILE)
    sealed = json.loads((folder / RELEASE_FILE).read_text())
    write_json(folder / RELEASE_FILE, {**sealed, "files": files, "release": release_id(files)})
    return read_release(folder)
