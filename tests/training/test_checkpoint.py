"""A training put back from its checkpoint takes the same steps; another run's is refused."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from components.core.errors import BadInput
from components.training.checkpoint import (
    Checkpoint,
    digest,
    optimizer_tensors,
    require_same,
    restore_optimizer,
)
from components.training.state import TrainingState
from components.training.weights import load_tensors, save_tensors


class _Net(nn.Module):
    """A frozen layer, and one that only some steps use."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2, 4, 3)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.head, self.auxiliary = nn.Linear(4, 1), nn.Linear(4, 1)

    def loss(self, step: int) -> torch.Tensor:
        x = torch.randn(2, 2, 5, 5, 5, generator=torch.Generator().manual_seed(step))
        inner = self.frozen(self.conv(x).mean(dim=(2, 3, 4)))
        head = self.auxiliary if step % 3 == 0 else self.head
        return head(inner).square().sum()


def _optimizer(network: nn.Module, fused: bool) -> torch.optim.AdamW:
    wanted = [p for p in network.parameters() if p.requires_grad]
    return torch.optim.AdamW(wanted, lr=1e-2, fused=fused)


def _train(network: _Net, optimizer: torch.optim.AdamW, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad(set_to_none=True)
        network.loss(step).backward()
        optimizer.step()


@pytest.fixture
def network() -> _Net:
    torch.manual_seed(3)
    return _Net().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


@pytest.mark.parametrize("fused", [False, True])
def test_it_continues_as_if_never_stopped(network: _Net, fused: bool) -> None:
    optimizer = _optimizer(network, fused)
    _train(network, optimizer, range(1, 5))
    tensors = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in optimizer_tensors(network, optimizer).items()
    }
    resumed = copy.deepcopy(network)
    again = _optimizer(resumed, fused)
    restore_optimizer(resumed, again, tensors)
    _train(network, optimizer, range(5, 9))
    _train(resumed, again, range(5, 9))
    for one, two in zip(network.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)


def test_moments_are_laid_out_as_their_parameter(network: _Net) -> None:
    optimizer = _optimizer(network, fused=True)
    _train(network, optimizer, range(1, 2))
    tensors = {k: t.contiguous() for k, t in optimizer_tensors(network, optimizer).items()}
    weight = network.conv.weight
    assert tensors["conv.weight.exp_avg"].stride() != weight.stride()
    again = _optimizer(network, fused=True)
    restore_optimizer(network, again, tensors)
    assert again.state[weight]["exp_avg"].stride() == weight.stride()


def test_only_parameters_that_took_a_step_have_a_state(network: _Net) -> None:
    optimizer = _optimizer(network, fused=False)
    assert optimizer_tensors(network, optimizer) == {}
    _train(network, optimizer, range(1, 3))
    tensors = optimizer_tensors(network, optimizer)
    assert {name.split(".")[0] for name in tensors} == {"conv", "head"}
    again = _optimizer(network, fused=False)
    restore_optimizer(network, again, tensors)
    assert network.auxiliary.weight not in again.state


def test_the_digest_depends_on_content_alone() -> None:
    assert digest({"a": 1, "b": [2.5, None]}) == digest({"b": [2.5, None], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    # sha256 of the two characters "[]"
    assert digest([]) == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"


def test_a_checkpoint_of_another_run_is_refused() -> None:
    require_same(Path("a"), {"run": "x", "more": 1}, {"run": "x"}, remedy="delete it")
    with pytest.raises(BadInput) as caught:
        require_same(Path("last"), {}, {"format": 2}, remedy="delete it")
    assert caught.value.remedy == "delete it"
    assert "format" in caught.value.problem


def test_a_checkpoint_holds_weights_optimizer_state_and_what_is_kept(
    network: _Net, tmp_path: Path
) -> None:
    optimizer = _optimizer(network, fused=True)
    _train(network, optimizer, range(1, 5))
    state = TrainingState(done=4, best=0.5, points=[{"loss": 0.25}])
    checkpoint = Checkpoint(tmp_path / "last.safetensors", {"run": "a"})
    checkpoint.save(network, optimizer, {"average": torch.ones(3)}, state)
    resumed = _Net().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    again = _optimizer(resumed, fused=True)
    found = checkpoint.restore(resumed, again)
    assert found is not None
    assert TrainingState(**found[0]) == state
    assert torch.equal(found[1]["average"], torch.ones(3))
    _train(network, optimizer, range(5, 9))
    _train(resumed, again, range(5, 9))
    for one, two in zip(network.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)


def test_an_older_format_is_refused_or_logged_and_ignored(
    network: _Net, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "last.safetensors"
    assert Checkpoint(path, {}).restore(network, _optimizer(network, fused=False)) is None
    save_tensors(path, {"network.weight": torch.ones(1)}, {"run": "a", "journal": {"step": 3}})
    with pytest.raises(BadInput) as caught:
        Checkpoint(path, {"run": "a"}).restore(network, _optimizer(network, fused=False))
    assert caught.value.problem == "its format is None, this run's is 2"
    ignored = Checkpoint(path, {"run": "a"}, restarts=True)
    with caplog.at_level(logging.INFO):
        assert ignored.restore(network, _optimizer(network, fused=False)) is None
    assert [record.message.count(str(path)) for record in caplog.records] == [1]
    assert load_tensors(path, remedy="")[1]["run"] == "a"
