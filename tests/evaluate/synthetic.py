"""A synthetic study: predictions.csv and samples of known skill, as the pipeline writes them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from components.core.vocabulary import FEATURE_NAMES, SLICE_OFFSETS, Model

SKILL = {Model.HYBRID: 2.4, Model.RESNET: 1.8, Model.RADIOMICS: 1.5, Model.AGE: 1.0}
"""Distance of mutants from wildtypes in SDs of the score, per model."""

SITES = ("north", "south")
_GRID = 32


def make_study(
    folder: Path,
    sets: dict[str, int],
    *,
    seed: int = 0,
    origin: str = "patients",
    development: int = 40,
    unanswered: int = 1,
    images: bool = True,
    carried: dict[str, tuple[str, ...]] | None = None,
    models: dict[str, float] | None = None,
) -> tuple[Path, Path]:
    """Write predictions.csv and samples/features.csv (with images); returns both paths.

    Args:
        sets: test set -> patients.
        unanswered: patients of each set without a tumour found.
        carried: further columns of features.csv -> values drawn from.
        models: ablations, name -> skill, beside the four models.
    """
    rng = np.random.default_rng(seed)
    skills = {**{m.value: d for m, d in SKILL.items()}, **(models or {})}
    people: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for name, count in {"development": development, **sets}.items():
        for index in range(count):
            silent = name != "development" and index < unanswered
            person = _person(rng, name, index, origin, silent, carried or {})
            people.append(person)
            if name != "development":
                rows += _predictions(rng, person, skills)
    samples = folder / "samples"
    (samples / "images").mkdir(parents=True, exist_ok=True)
    if images:
        for person in people:
            np.save(samples / "images" / f"{person['patient_id']}.npy", _image(rng))
    _write(samples / "features.csv", people)
    _write(folder / "predictions.csv", rows)
    return folder / "predictions.csv", samples / "features.csv"


def _person(
    rng: np.random.Generator,
    name: str,
    index: int,
    origin: str,
    silent: bool,
    carried: dict[str, tuple[str, ...]],
) -> dict[str, Any]:
    idh = int(rng.random() < 0.35) if index > 3 else index % 2
    grade = int(rng.choice([2, 3, 4], p=[0.4, 0.35, 0.25] if idh else [0.1, 0.2, 0.7]))
    features = {feature: f"{rng.normal(10, 3):.4f}" for feature in FEATURE_NAMES}
    features["age"] = f"{np.clip(rng.normal(42 if idh else 58, 12), 19, 89):.1f}"
    internal = name in ("development", "internal")
    return {
        "patient_id": f"{name[:3].upper()}-{index:04d}",
        "cohort": "development" if internal else name,
        "subset": "training" if name == "development" else name,
        "fold": "",
        "idh": idh,
        "sex": str(rng.choice(["M", "F"], p=[0.58, 0.42])),
        "grade": grade,
        "codeletion": int(rng.random() < 0.4) if idh and grade < 4 else 0,
        "site": str(rng.choice(SITES)),
        "origin": origin,
        "status": "no_tumor" if silent else "ok",
        **({**dict.fromkeys(features, ""), "age": features["age"]} if silent else features),
        **{f"slice_{i}": "" if silent else 10 + i for i in range(len(SLICE_OFFSETS))},
        "tumor_ml": 0.0 if silent else f"{rng.lognormal(4.0, 0.8):.2f}",
        "dice": 0.0 if silent else f"{np.clip(rng.normal(0.88, 0.05), 0, 1):.4f}",
        "hd95_mm": "" if silent else f"{rng.gamma(3, 2):.3f}",
        "volume_error_ml": f"{rng.normal(0, 6):.3f}",
        "confidence": f"{rng.random():.3f}",
        "warnings": "",
        **{column: str(rng.choice(values)) for column, values in carried.items()},
    }


def _predictions(
    rng: np.random.Generator, person: dict[str, Any], skills: dict[str, float]
) -> list[dict[str, Any]]:
    kept = ("patient_id", "cohort", "subset", "site", "idh", "age", "sex", "grade", "dice")
    common = {key: person[key] for key in kept}
    shared = rng.normal()
    rows = []
    for model, skill in skills.items():
        common["model"] = model
        if person["status"] == "no_tumor" and model != Model.AGE.value:
            rows.append({**common, "slice": "", "status": "no_tumor"})
            continue
        score = 0.6 * shared + 0.8 * rng.normal() + skill * (person["idh"] - 0.5)
        odds = skill * (score + 0.3 * rng.normal(size=len(SLICE_OFFSETS))) - 0.5
        chance = 1 / (1 + np.exp(-odds))
        mean = float(chance.mean())
        abstain = model == Model.HYBRID.value and abs(mean - 0.5) < 0.05
        whole = {**common, "slice": "", "probability": repr(mean)}
        whole |= {"uncertainty": f"{chance.std():.5f}", "ood": "0.1"}
        rows.append({**whole, "status": "abstain" if abstain else "ok"})
        if model in (Model.HYBRID.value, Model.RESNET.value):
            rows += [
                {**common, "slice": number, "probability": repr(float(p)), "status": "ok"}
                for number, p in enumerate(chance)
            ]
    return rows


def _image(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:_GRID, :_GRID] / _GRID - 0.5
    brain = (x / 0.42) ** 2 + (y / 0.46) ** 2 < 1
    cx, cy = rng.uniform(-0.2, 0.2, 2)
    mask = brain & ((x - cx) ** 2 + (y - cy) ** 2 < rng.uniform(0.08, 0.2) ** 2)
    image = np.zeros((5, 3, _GRID, _GRID), dtype=np.float32)
    noise = rng.normal(0, 0.02, size=(5, 2, _GRID, _GRID))
    image[:, 0] = np.where(brain, 0.5 - 0.1 * mask + noise[:, 0], 0)
    image[:, 1] = np.where(brain, 0.45 + 0.2 * mask + noise[:, 1], 0)
    image[:, 2] = mask
    return image


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
