"""The architecture of docs/method.md, its settings and the augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.classify.data.augmentation import augment_slices, draw_slices, jitter
from components.classify.data.selection import Selection
from components.classify.network.resnet import Hybrid, ImageBranch, ResNet, tumor_statistics
from components.classify.settings import (
    ClassifySettings,
    Pooling,
    ResNetSettings,
    SliceAugmentationSettings,
)
from tests.classify.factories import _image

SELECTION = Selection(np.arange(0, 20), np.ones(24), np.linspace(0, 10, 20), np.linspace(1, 2, 20))
SMALL = ResNetSettings(blocks=(1, 1, 1, 1), width=4)
STILL = SliceAugmentationSettings(
    rotate_degrees=0, scale=0, shift=0, flip=0, contrast=0, brightness=0, noise=0, blur=0,
    features=0,
)  # fmt: skip


def images(n: int = 2) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.concatenate([_image(rng, 2.0) for _ in range(n)]))


def test_the_default_is_the_papers_resnet34() -> None:
    branch = ImageBranch(ResNetSettings())
    # 21.28 M of torchvision's ResNet-34 without its 1000-class layer (513,000 parameters).
    assert sum(p.numel() for p in branch.parameters()) == 21_797_672 - 513_000
    assert branch.outputs == 512
    with torch.inference_mode():
        assert branch.eval().feature_map(torch.zeros(1, 3, 128, 128)).shape == (1, 512, 8, 8)
    settings = ClassifySettings()
    assert (settings.warm.epochs, settings.fine.epochs) == (111, 72)


def test_the_hybrid_joins_8_and_20() -> None:
    hybrid = Hybrid(ResNetSettings(), SELECTION)
    assert hybrid.reduce.in_features == 512 and hybrid.reduce.out_features == 8
    assert hybrid.join.in_features == 28 and hybrid.join.out_features == 8
    assert hybrid.classes.out_features == 2


def test_selection_and_standardisation_are_inside() -> None:
    hybrid = Hybrid(SMALL, SELECTION).eval()
    features = np.random.default_rng(0).normal(size=(10, 24))
    with torch.inference_mode():
        _, penultimate, _ = hybrid(images(), torch.from_numpy(features).float())
    np.testing.assert_allclose(
        penultimate[:, 8:].numpy(), SELECTION.standardise(features), atol=1e-5
    )


def test_frozen_parts_are_copied_and_never_change() -> None:
    torch.manual_seed(0)
    warm, hybrid = ResNet(SMALL), Hybrid(SMALL, SELECTION)
    hybrid.start_from(warm)
    before = {k: v.clone() for k, v in hybrid.image.state_dict().items()}
    for name, value in warm.image.state_dict().items():
        torch.testing.assert_close(before[name], value)
    optimizer = torch.optim.SGD([p for p in hybrid.parameters() if p.requires_grad], lr=0.1)
    hybrid.train()
    logits, _, _ = hybrid(images(), torch.zeros(10, 24))
    logits.square().sum().backward()
    optimizer.step()
    after = hybrid.image.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(int(name.split(".")[1]) >= SMALL.frozen for name in changed)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_hybrid_begins_with_the_warm_up_s_answer(sign: float) -> None:
    torch.manual_seed(0)
    warm, hybrid = ResNet(SMALL), Hybrid(SMALL, SELECTION)
    torch.nn.init.normal_(warm.classes.weight, std=100.0)
    warm.classes.weight.data *= sign
    hybrid.start_from(warm)
    warm.eval()
    hybrid.eval()
    features = torch.randn(10, 24)
    with torch.inference_mode():
        theirs, ours = warm(images(), features)[0], hybrid(images(), features)[0]
    margins = theirs[:, 1] - theirs[:, 0]
    assert (margins.abs() > 0.01).all()
    torch.testing.assert_close(ours[:, 1] - ours[:, 0], margins, atol=1e-4, rtol=1e-4)


def test_a_hybrid_that_begins_as_the_warm_up_learns_from_the_features() -> None:
    torch.manual_seed(0)
    hybrid = Hybrid(SMALL, SELECTION)
    hybrid.start_from(ResNet(SMALL))
    hybrid.eval()
    features = torch.randn(10, 24)
    optimizer = torch.optim.Adam([*hybrid.join.parameters(), *hybrid.classes.parameters()], lr=0.01)
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(
            hybrid(images(), features)[0], (features[:, 0] > 0).long()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    other = hybrid(images(), features.flip(0))[0].detach()
    assert not torch.allclose(other, hybrid(images(), features)[0])


def test_tumour_pooling_ignores_what_lies_outside() -> None:
    branch = ImageBranch(SMALL.model_copy(update={"pooling": Pooling.TUMOR}))
    maps, mask = torch.rand(2, 8, 4, 4), torch.zeros(2, 1, 32, 32)
    mask[:, :, :8, :8] = 1.0
    changed = maps.clone()
    changed[:, :, 2:, 2:] += 5.0
    torch.testing.assert_close(
        branch.pool(maps, mask), branch.pool(changed, mask), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(branch.pool(maps, mask), maps[:, :, 0, 0], atol=1e-3, rtol=0)


def test_statistics_are_those_of_the_mask() -> None:
    x = images()
    found = tumor_statistics(x).numpy()
    for image, row in zip(x.numpy(), found, strict=True):
        z, inside = (image[:2] - 0.5) * 10, image[2] > 0
        np.testing.assert_allclose(row[:2], z[:, inside].mean(axis=1), atol=1e-4)
        np.testing.assert_allclose(row[2:4], z[:, inside].std(axis=1), atol=1e-3)
        assert (row[4:] > 0).all()
    empty = x.clone()
    empty[:, 2] = 0
    assert torch.isfinite(tumor_statistics(empty)).all()


def test_no_change_drawn_is_no_change() -> None:
    x = images()
    drawn = draw_slices(STILL, len(x), torch.Generator().manual_seed(0))
    torch.testing.assert_close(augment_slices(x, drawn), x, atol=1e-5, rtol=0)
    features = torch.rand(10, 24)
    assert jitter(features, torch.ones(24), drawn) is features


def test_the_same_draw_gives_the_same_slices() -> None:
    x = images()
    once, again = (
        augment_slices(
            x,
            draw_slices(SliceAugmentationSettings(), len(x), torch.Generator().manual_seed(7)),
        )
        for _ in range(2)
    )
    torch.testing.assert_close(once, again, atol=0, rtol=0)
    assert not torch.equal(once, x)


def test_augmented_slices_stay_images() -> None:
    strong = SliceAugmentationSettings(
        rotate_degrees=90, scale=0.4, brightness=3, noise=2, drop=1.0
    )
    x = images()
    y = augment_slices(x, draw_slices(strong, len(x), torch.Generator().manual_seed(1)))
    assert y.min() >= 0 and y.max() <= 1
    assert set(y[:, 2].unique().tolist()) <= {0.0, 1.0}
    flat = (y[:, :2] * (y[:, :2] > 0)).flatten(2)
    dropped = [
        len(set(flat[i, c][flat[i, c] > 0].tolist())) == 1 for i in range(10) for c in (0, 1)
    ]
    assert sum(dropped) == 10


def test_a_mirror_image_is_one() -> None:
    x = images()
    drawn = draw_slices(
        STILL.model_copy(update={"flip": 1.0}), len(x), torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(augment_slices(x, drawn), x.flip(-1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("blocks", [(0, 1, 1, 1)])
def test_an_empty_layer_is_refused(blocks: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        ClassifySettings(network=ResNetSettings(blocks=blocks))
