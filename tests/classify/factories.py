"""Synthetic samples of the classifier: IDH status shows in image, features and age."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from components.core.files import write_json
from components.core.vocabulary import FEATURE_NAMES, REGIONS, SHAPE_FEATURES
from components.features.extract import COLUMNS

GRID = 32


def make_samples(
    folder: Path,
    patients: int = 40,
    *,
    folds: int = 1,
    external: int = 0,
    seed: int = 0,
    contrast: float = 2.0,
    effect: float = 1.0,
    rows: dict[str, dict[str, object]] | None = None,
) -> Path:
    """Write a samples folder.

    Args:
        folds: 1 gives the last quarter of development to tuning; more give folds.
        external: patients of cohort "snuh", whose images are a little brighter.
        contrast: how much brighter a mutant's tumour is on the first sequence, in SDs.
        effect: how many SDs the features and the age differ by.
        rows: columns to overwrite, by patient_id.
    """
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    table = []
    for index in range(patients + external):
        mutant = index % 2
        row = _row(rng, index, mutant, effect)
        if index >= patients:
            row |= {"cohort": "snuh", "subset": "snuh", "site": "snuh"}
        elif folds > 1:
            row["fold"] = index // 2 % folds
        elif index >= patients - patients // 4:
            row["subset"] = "tuning"
        row |= (rows or {}).get(str(row["patient_id"]), {})
        table.append(row)
        image = _image(rng, mutant * contrast + 0.3 * (index >= patients))
        np.save(folder / "images" / f"{row['patient_id']}.npy", image)
    with (folder / "features.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    write_json(
        folder / "samples.json",
        {"channels": ["t1c", "flair"], "grid": GRID, "clip": 5.0, "plan_digest": "0" * 64},
    )
    return folder


def _row(rng: np.random.Generator, index: int, mutant: int, effect: float) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(COLUMNS, "")
    row |= {
        "patient_id": f"p{index:03d}",
        "cohort": "development",
        "subset": "training",
        "idh": mutant,
        "sex": "F",
        "grade": 2 if mutant else 4,
        "codeletion": int(mutant and index % 4 == 1),
        "site": "one",
        "origin": "phantoms",
        "status": "ok",
        "tumor_ml": 30.0,
        "dice": 0.9,
    }
    row |= {name: rng.normal(20.0 + 2.0 * effect * mutant, 2.0) for name in SHAPE_FEATURES[:7]}
    row |= {name: rng.normal(20.0, 2.0) for name in SHAPE_FEATURES[7:]}
    row |= {name: rng.uniform(0.0, 20.0) for name in REGIONS}
    row["age"] = float(np.clip(rng.normal(60.0 - 10.0 * effect * mutant, 8.0), 18, 100))
    return row


def _image(rng: np.random.Generator, brighter: float) -> np.ndarray:
    y, x = np.indices((GRID, GRID)) - GRID / 2
    brain = (y**2 + x**2) < (0.45 * GRID) ** 2
    centre, radius = rng.uniform(-5, 5, size=2), rng.uniform(4, 6)
    slices = []
    for _ in range(5):
        mask = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2) < radius**2
        z = rng.normal(0.0, 1.0, size=(2, GRID, GRID))
        z[0, mask] += brighter
        image = np.where(brain, np.clip(z / 10 + 0.5, 0, 1), 0.0)
        slices.append(np.stack([*image, mask & brain]))
    return np.stack(slices).astype(np.float32)


def number_of_features() -> int:
    """24."""
    return len(FEATURE_NAMES)
