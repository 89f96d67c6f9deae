"""The cosine by which learning rates fall."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.training.schedule import half_cosine, set_learning_rate


def test_it_falls_from_one_to_zero_through_a_half() -> None:
    shares = [half_cosine(done) for done in np.linspace(0.0, 1.0, 101)]
    assert shares[0] == 1.0
    assert shares[50] == pytest.approx(0.5)
    assert shares[-1] == 0.0
    assert np.diff(shares).max() < 0


def test_a_rate_holds_for_every_group() -> None:
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [w], "lr": 1.0} for w in weights])
    set_learning_rate(optimizer, 0.25)
    for weight in weights:
        weight.grad = torch.ones(2)
    optimizer.step()
    assert [weight.tolist() for weight in weights] == [[0.75, 0.75]] * 2
