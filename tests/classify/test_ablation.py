"""Ablations: what is taken is gone, what is left is untouched, and all of it can be trained on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from components.classify.data.samples import read_samples
from components.classify.settings import ClassifySettings
from components.classify.training.ablation import (
    FULL,
    Ablation,
    Tissue,
    ablate_images,
    ablate_samples,
    ablations_of,
    train_ablations,
)
from components.core.errors import BadInput
from components.core.vocabulary import AGE, FEATURE_NAMES, SHAPE_FEATURES, Sequence
from components.evaluate.settings import EvaluateSettings
from components.evaluate.studies.ablations import evaluate_ablations
from tests.classify.factories import make_samples

QUICK = ClassifySettings.model_validate(
    {
        "network": {"blocks": [1, 1, 1, 1], "width": 4},
        "warm": {"epochs": 1},
        "fine": {"epochs": 1},
        "forest": {"trees": 5, "folds": 2, "min_leaf": [3], "max_features": [0.5], "repeats": 1},
        "min_patients": 4,
        "device": "cpu",
        "threads": 1,
    }
)
EVERY = {one.name: one for one in ablations_of((Sequence.T1C, Sequence.FLAIR))}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_samples(tmp_path_factory.mktemp("ablate") / "samples", 24, external=8)


@pytest.fixture(scope="module")
def images(samples: Path) -> np.ndarray:
    return np.load(samples / "images" / "p000.npy")


def test_all_of_the_papers_ablations_are_there() -> None:
    assert next(iter(EVERY)) == FULL
    assert set(EVERY) == {
        FULL, "3-slices", "1-slice", "t1c-only", "flair-only", "tumor-only", "tumor-masked-out",
        "no-shape", "no-loci", "no-age",
    }  # fmt: skip
    assert EVERY["1-slice"].models == ("resnet", "hybrid")
    assert EVERY["no-age"].models == ("hybrid", "radiomics")


def test_nothing_taken_changes_nothing(images: np.ndarray) -> None:
    np.testing.assert_array_equal(ablate_images(images, EVERY[FULL]), images)


def test_the_slices_left_are_those_named(images: np.ndarray) -> None:
    np.testing.assert_array_equal(ablate_images(images, EVERY["3-slices"]), images[[1, 2, 3]])
    np.testing.assert_array_equal(ablate_images(images, EVERY["1-slice"]), images[[2]])


@pytest.mark.parametrize(("name", "kept"), [("t1c-only", 0), ("flair-only", 1)])
def test_the_sequence_taken_says_no_more_than_where_the_brain_is(
    images: np.ndarray, name: str, kept: int
) -> None:
    left = ablate_images(images, EVERY[name])
    np.testing.assert_array_equal(left[:, [kept, 2]], images[:, [kept, 2]])
    brain = images[:, :2].max(axis=1) > 0
    np.testing.assert_array_equal(left[:, 1 - kept], np.where(brain, 0.5, 0.0))


def test_tumor_and_rest_add_up_to_the_image(images: np.ndarray) -> None:
    tumor, rest = (ablate_images(images, EVERY[n]) for n in ("tumor-only", "tumor-masked-out"))
    np.testing.assert_array_equal(tumor[:, :2] + rest[:, :2], images[:, :2])
    inside = images[:, 2] > 0.5
    assert not tumor[:, 0][~inside].any()
    assert not rest[:, 0][inside].any()
    for left in (tumor, rest):
        np.testing.assert_array_equal(left[:, 2], images[:, 2])


def test_numbers_taken_can_not_be_selected(samples: Path, tmp_path: Path) -> None:
    ablate_samples(samples, EVERY["no-shape"], tmp_path / "out")
    before, after = read_samples(samples), read_samples(tmp_path / "out")
    shape = [FEATURE_NAMES.index(name) for name in SHAPE_FEATURES]
    rest = [i for i in range(len(FEATURE_NAMES)) if i not in shape]
    assert not after.features[:, shape].any()
    np.testing.assert_array_equal(after.features[:, rest], before.features[:, rest])
    np.testing.assert_array_equal(after.usable, before.usable)


def test_who_lacks_a_number_lacks_it_still(tmp_path: Path) -> None:
    samples = make_samples(tmp_path / "in", 6, rows={"p001": {AGE: ""}})
    ablate_samples(samples, EVERY["no-age"], tmp_path / "out")
    np.testing.assert_array_equal(
        read_samples(tmp_path / "out").usable, read_samples(samples).usable
    )


def test_ablations_are_trained_judged_and_not_trained_twice(samples: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    folders = train_ablations(
        samples, QUICK, tmp_path, only=("1-slice", "no-age"),
        progress=lambda done, total, what: seen.append((done, total)),
    )  # fmt: skip
    assert [folder.name for folder in folders] == [FULL, "1-slice", "no-age"]
    assert seen[-1] == (300, 300)
    with (tmp_path / "1-slice" / "predictions.csv").open() as stream:
        slices = {row["slice"] for row in csv.DictReader(stream) if row["model"] == "hybrid"}
    assert slices == {"0", ""}
    assert not list(tmp_path.rglob("*.npy"))
    result = evaluate_ablations(folders, EvaluateSettings(iterations=100), tmp_path / "out")
    models = {(row["ablation"], row["model"]) for row in result["rows"]}
    assert models == {
        *((FULL, model) for model in ("resnet", "hybrid", "radiomics")),
        *(("1-slice", model) for model in ("resnet", "hybrid")),
        *(("no-age", model) for model in ("hybrid", "radiomics")),
    }
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.csv")}
    train_ablations(samples, QUICK, tmp_path, only=("1-slice", "no-age"))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (tmp_path / "1-slice" / "ablation.json").write_text(json.dumps({"name": "1-slice"}))
    train_ablations(samples, QUICK, tmp_path, only=("1-slice",))
    assert (tmp_path / "1-slice" / "predictions.csv").stat().st_mtime_ns > max(before.values())


def test_unknown_ablations_and_folders_are_refused(samples: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such ablation"):
        train_ablations(samples, QUICK, tmp_path, only=("no-head",))
    with pytest.raises(BadInput, match="not a samples folder"):
        train_ablations(tmp_path, QUICK, tmp_path / "out")
    with pytest.raises(BadInput, match="not a samples folder"):
        ablate_samples(tmp_path, Ablation("x", "x", tissue=Tissue.TUMOR), tmp_path / "out")
