"""Where the hybrid looks: exact on networks whose eyes are known, whole on trained ones."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from components.classify.explanation.figure import draw_explanation
from components.classify.explanation.saliency import explain, explain_networks, saliency_shares
from components.classify.inference.classifier import Classifier
from components.classify.settings import ClassifySettings
from components.classify.training.train import train_classifiers
from components.core.errors import BadInput
from components.core.vocabulary import FEATURE_NAMES, Sequence
from tests.classify.factories import make_samples

SIDE = 16
NUMBERS = np.zeros((2, len(FEATURE_NAMES)), np.float32)


class Looker(nn.Module):
    """A network whose log-odds are the weighted sum of one part of one sequence."""

    def __init__(self, rows: slice, columns: slice, channel: int, weight: float = 1.0) -> None:
        super().__init__()
        self.where, self.channel = (rows, columns), channel
        self.weight = nn.Parameter(torch.tensor(weight))
        self.image = nn.Module()
        self.image.parts = nn.ModuleList([nn.Conv2d(3, 2, 3, 2, 1), nn.Conv2d(2, 2, 3, 1, 1)])

    def forward(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        part = images[:, self.channel][:, self.where[0], self.where[1]]
        maps = self.image.parts[1](self.image.parts[0](images))
        mutant = self.weight * part.sum(dim=(1, 2)) + 0.0 * maps.sum(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(mutant), mutant], 1), images, features


def some_images(seed: int = 0) -> np.ndarray:
    images = np.random.default_rng(seed).uniform(0.1, 0.9, (2, 5, 3, SIDE, SIDE))
    images[:, :, 2] = 0.0
    images[:, :, 2, 4:9, 5:12] = 1.0
    return images.astype(np.float32)


HALVES = (slice(0, SIDE // 2), slice(SIDE // 2, SIDE))


@settings(max_examples=30)
@given(st.sampled_from(HALVES), st.sampled_from(HALVES), st.integers(0, 1), st.floats(0.1, 50.0))
def test_who_looks_at_one_quadrant_is_salient_only_there(
    rows: slice, columns: slice, channel: int, weight: float
) -> None:
    network = Looker(rows, columns, channel, weight).eval()
    found = explain_networks([network], some_images(), NUMBERS).saliency
    inside = found[:, :, channel, rows, columns]
    np.testing.assert_allclose(inside, 1 / (SIDE // 2) ** 2, rtol=1e-5)
    assert np.count_nonzero(found) == np.count_nonzero(inside)


def test_a_slice_adds_up_to_one_and_the_background_says_nothing() -> None:
    images = some_images()
    images[:, :, :, :4] = 0.0
    torch.manual_seed(0)
    networks = [Looker(slice(0, 9), slice(0, 9), c, 1.0 + c).eval() for c in (0, 1)]
    found = explain_networks(networks, images, NUMBERS)
    np.testing.assert_allclose(found.saliency.sum(axis=(2, 3, 4)), 1.0, rtol=1e-5)
    by_channel = found.saliency.sum(axis=(3, 4))
    np.testing.assert_allclose(by_channel[..., 1], 2 * by_channel[..., 0], rtol=1e-5)
    assert not found.saliency[:, :, :, :4].any()
    assert not found.grad_cam[:, :, :4].any()


def test_who_looks_at_nothing_is_salient_nowhere() -> None:
    found = explain_networks([Looker(slice(0, 1), slice(0, 1), 0, 0.0).eval()], some_images(),
                             NUMBERS)  # fmt: skip
    assert not found.saliency.any()
    assert np.isfinite(found.grad_cam).all()


def test_places_follow_the_outline() -> None:
    mask = some_images()[0, :, 2]
    even = np.ones((5, 2, SIDE, SIDE), np.float32)
    np.testing.assert_allclose(saliency_shares(even, mask).sum(axis=1), 1.0)
    middle = np.zeros_like(even)
    middle[:, 0, 6, 8] = 1.0
    found = saliency_shares(middle, mask)
    assert found[0].tolist() == [1.0, 0.0, 0.0]
    assert np.isnan(found[1]).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("explain")
    samples = make_samples(folder / "samples", 24, folds=2, external=8, contrast=0.5)
    settings = ClassifySettings.model_validate(
        {
            "network": {"blocks": [1, 1, 1, 1], "width": 4},
            "warm": {"epochs": 1},
            "fine": {"epochs": 1},
            "forest": {"trees": 5, "folds": 2, "min_leaf": [3], "max_features": [0.5],
                       "repeats": 1},
            "min_patients": 4,
            "explain": 2,
            "device": "cpu",
            "threads": 1,
        }
    )  # fmt: skip
    train_classifiers(samples, settings, folder / "model")
    return samples, folder / "model"


def test_a_trained_hybrid_explains_itself_the_same_way_twice(trained: tuple[Path, Path]) -> None:
    samples, model = trained
    classifier = Classifier.load(model)
    images = np.stack([np.load(samples / "images" / f"p{i:03d}.npy") for i in (24, 25)])
    numbers = np.tile(np.linspace(1, 30, len(FEATURE_NAMES)), (2, 1))
    first, second = (explain(classifier, images, numbers) for _ in range(2))
    for name in ("saliency", "grad_cam"):
        one, two = getattr(first, name), getattr(second, name)
        assert one.tobytes() == two.tobytes()
        assert np.isfinite(one).all()
        assert (one >= 0).all()
    np.testing.assert_allclose(first.saliency.sum(axis=(2, 3, 4)), 1.0, rtol=1e-4)
    assert not first.saliency[images[:, :, :2] == 0].any()
    assert first.grad_cam.max() <= 1.0
    with pytest.raises(BadInput):
        explain(classifier, images[:, :3], numbers)


def test_training_leaves_numbers_of_every_test_patient_and_maps_of_errors(
    trained: tuple[Path, Path],
) -> None:
    _, model = trained
    with (model / "saliency.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 32
    assert {row["subset"] for row in rows} == {"internal", "snuh"}
    for row in rows:
        for what in ("t1c", "flair", "area"):
            cells = [float(row[f"{what}_{place}"]) for place in ("inside", "rim", "elsewhere")]
            assert sum(cells) == pytest.approx(1.0, abs=1e-5)
    with (model / "predictions.csv").open() as stream:
        answers = [r for r in csv.DictReader(stream) if r["model"] == "hybrid" and not r["slice"]]
    wrong = {r["patient_id"] for r in answers if (float(r["probability"]) >= 0.5) != int(r["idh"])}
    kept = {path.stem for path in (model / "saliency").glob("*.npy")}
    assert kept
    assert kept <= wrong
    for name in kept:
        assert np.load(model / "saliency" / f"{name}.npy").shape == (5, 2, 32, 32)


def test_the_picture_is_drawn(trained: tuple[Path, Path], tmp_path: Path) -> None:
    samples, model = trained
    images = np.load(samples / "images" / "p024.npy")
    found = explain(Classifier.load(model), images[None], np.ones((1, len(FEATURE_NAMES))))
    draw_explanation(tmp_path / "e.png", images, found, (Sequence.T1C, Sequence.FLAIR), "P = 0.5")
    assert (tmp_path / "e.png").stat().st_size > 20_000
