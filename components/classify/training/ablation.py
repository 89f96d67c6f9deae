"""Ablations: the same training on samples from which something was taken (paper, eTable 4)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from components.classify.settings import ClassifySettings, ForestSettings
from components.classify.training.outputs import PREDICTIONS_FILE
from components.classify.training.train import train_classifiers
from components.core.errors import BadInput
from components.core.files import atomic, read_json, sha256_file, write_json
from components.core.progress import Progress, silent
from components.core.tables import read_csv, write_csv
from components.core.vocabulary import (
    AGE,
    FEATURE_NAMES,
    REGIONS,
    SEQUENCE_TITLES,
    SHAPE_FEATURES,
    SLICE_OFFSETS,
    Sequence,
)
from components.features.extract import FEATURES_FILE, SAMPLES_FILE

ABLATION_FILE = "ablation.json"
FULL = "full"
"""The ablation that takes nothing: what the others are compared with."""

NO_INFORMATION = 0.5
"""Value inside the brain of a sequence that was taken: the brain's mean (z = 0)."""

_NO_FOREST = ForestSettings(trees=1, folds=2, min_leaf=(1,), max_features=(0.5,), repeats=1)
"""Where the numbers are whole the forest is the run's own, and not asked again."""


class Tissue(StrEnum):
    """What of the brain is left in the images."""

    ALL = "all"
    TUMOR = "tumor"
    """Inside the mask alone."""

    NO_TUMOR = "no_tumor"
    """Outside the mask alone. The mask itself stays: a hole would show it anyway."""


@dataclass(frozen=True)
class Ablation:
    """What is left.

    Attributes:
        name, title: for files, and for readers.
        offsets: slices, from the one of largest area.
        sequences: positions (0, 1) of the image's sequences; the other shows the brain's mean.
        tissue: see Tissue.
        numbers: numeric features; the others are made constant, which no selection keeps.
    """

    name: str
    title: str
    offsets: tuple[int, ...] = SLICE_OFFSETS
    sequences: tuple[int, ...] = (0, 1)
    tissue: Tissue = Tissue.ALL
    numbers: tuple[str, ...] = FEATURE_NAMES

    @property
    def of_images(self) -> bool:
        """Whether it changes the images, and so the conventional ResNet."""
        whole = Ablation(self.name, self.title, numbers=self.numbers)
        return self != whole

    @property
    def models(self) -> tuple[str, ...]:
        """Models that it changes; of `FULL`, all."""
        if self.name == FULL:
            return ("resnet", "hybrid", "radiomics")
        return ("resnet", "hybrid") if self.of_images else ("hybrid", "radiomics")


def ablations_of(channels: tuple[Sequence, Sequence]) -> tuple[Ablation, ...]:
    """All ablations of samples with these sequences, `FULL` first."""
    first, second = (SEQUENCE_TITLES[channel] for channel in channels)
    without = {
        "shape": tuple(name for name in FEATURE_NAMES if name not in SHAPE_FEATURES),
        "loci": tuple(name for name in FEATURE_NAMES if name not in REGIONS),
        "age": tuple(name for name in FEATURE_NAMES if name != AGE),
    }
    return (
        Ablation(FULL, f"5 slices, {first} and {second}, all numbers"),
        Ablation("3-slices", "3 slices (0, ±2)", offsets=(-2, 0, 2)),
        Ablation("1-slice", "1 slice (largest area)", offsets=(0,)),
        Ablation(f"{channels[0].value}-only", f"{first} only", sequences=(0,)),
        Ablation(f"{channels[1].value}-only", f"{second} only", sequences=(1,)),
        Ablation("tumor-only", "rest of the brain masked out", tissue=Tissue.TUMOR),
        Ablation("tumor-masked-out", "tumour masked out", tissue=Tissue.NO_TUMOR),
        *(Ablation(f"no-{name}", f"no {name}", numbers=left) for name, left in without.items()),
    )


def ablate_images(images: np.ndarray, ablation: Ablation) -> np.ndarray:
    """Images [5, 3, y, x] of one patient with what the ablation leaves: [slices, 3, y, x]."""
    places = [SLICE_OFFSETS.index(offset) for offset in ablation.offsets]
    left = images[places].copy()
    brain = left[:, :2].max(axis=1) > 0
    for channel in range(2):
        if channel not in ablation.sequences:
            left[:, channel] = np.where(brain, np.float32(NO_INFORMATION), np.float32(0.0))
    tumor = left[:, 2] > 0.5
    if ablation.tissue is not Tissue.ALL:
        taken = ~tumor if ablation.tissue is Tissue.TUMOR else tumor
        left[:, :2] = np.where(taken[:, None], np.float32(0.0), left[:, :2])
    return left


def ablate_samples(samples: Path, ablation: Ablation, out: Path) -> None:
    """Write the samples of `samples` with what the ablation leaves to `out`, whole or not at all.

    Raises BadInput: not a samples folder.
    """
    description, rows = _read(samples)
    taken = [name for name in FEATURE_NAMES if name not in ablation.numbers]
    for row in rows:
        # A patient who lacks a number lacks it still: who can be asked must not depend on this.
        row |= {name: "0" for name in taken if row.get(name)}
    with atomic(out) as temporary:
        (temporary / "images").mkdir(parents=True)
        for row in rows:
            name = f"{row['patient_id']}.npy"
            if (samples / "images" / name).is_file():
                images = np.load(samples / "images" / name, allow_pickle=False)
                np.save(temporary / "images" / name, ablate_images(images, ablation))
        write_csv(temporary / FEATURES_FILE, list(rows[0]) if rows else (), rows)
        description |= {"offsets": list(ablation.offsets), "ablation": ablation.name}
        write_json(temporary / SAMPLES_FILE, description)


def train_ablations(
    samples: Path,
    settings: ClassifySettings,
    out: Path,
    *,
    only: tuple[str, ...] = (),
    progress: Progress = silent,
) -> list[Path]:
    """Train the classifiers once for every ablation; returns their folders, `FULL` first.

    Each folder gets ablation.json (name, title, models that it changes, settings) and
    predictions.csv; the networks are not kept. What is finished is not trained again.

    Args:
        only: names of the ablations to make beside `FULL`; none makes all.

    Raises:
        BadInput: an unknown name; see `train_classifiers`.
    """
    description, _ = _read(samples)
    first, second = (Sequence(name) for name in description["channels"])
    every = ablations_of((first, second))
    unknown = set(only) - {one.name for one in every}
    if unknown:
        known = ", ".join(one.name for one in every)
        raise BadInput(f"ablation '{min(unknown)}'", "no such ablation", f"use {known}")
    chosen = [one for one in every if not only or one.name in (FULL, *only)]
    for index, ablation in enumerate(chosen):

        def report(done: int, total: int, what: str, index: int = index, one=ablation) -> None:  # type: ignore[no-untyped-def]
            share = round(100 * done / max(total, 1))
            progress(100 * index + share, 100 * len(chosen), f"{one.name}, {what}")

        _train(samples, ablation, settings, out / ablation.name, report)
    return [out / ablation.name for ablation in chosen]


def _read(samples: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """What samples.json says, and the rows of features.csv."""
    try:
        return read_json(samples / SAMPLES_FILE), read_csv(samples / FEATURES_FILE)
    except (OSError, ValueError) as error:
        raise BadInput(samples, f"not a samples folder ({error})", "extract the features") from None


def _train(
    samples: Path, ablation: Ablation, settings: ClassifySettings, out: Path, progress: Progress
) -> None:
    chosen = settings.model_copy(update={"explain": 0})
    if ablation.of_images:
        chosen = chosen.model_copy(update={"forest": _NO_FOREST})
    content = {
        "name": ablation.name,
        "title": ablation.title,
        "models": list(ablation.models),
        "of_images": ablation.of_images,
        "settings": chosen.model_dump(mode="json"),
        "samples_sha256": [sha256_file(samples / name) for name in (FEATURES_FILE, SAMPLES_FILE)],
    }
    if _finished(out, content):
        return
    work = out / ".work"
    shutil.rmtree(out, ignore_errors=True)
    ablate_samples(samples, ablation, work / "samples")
    train_classifiers(work / "samples", chosen, work / "model", progress=progress)
    (work / "model" / PREDICTIONS_FILE).replace(out / PREDICTIONS_FILE)
    shutil.rmtree(work)
    write_json(out / ABLATION_FILE, content)


def _finished(out: Path, content: dict[str, Any]) -> bool:
    try:
        return (out / PREDICTIONS_FILE).is_file() and read_json(out / ABLATION_FILE) == content
    except (OSError, ValueError):
        return False
