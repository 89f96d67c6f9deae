"""Tensors and their description in one file."""

from pathlib import Path

import pytest
import torch

from components.core.errors import BadInput
from components.training.weights import load_tensors, prefixed, save_tensors, unprefixed


def test_tensors_and_description_come_back(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(3)}
    save_tensors(tmp_path / "w.safetensors", tensors, {"epoch": 4, "dice": [0.5]})
    found, description = load_tensors(tmp_path / "w.safetensors", remedy="train")
    assert description == {"epoch": 4, "dice": [0.5]}
    assert set(found) == {"a", "b"}
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_a_cut_or_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_tensors(path, {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:-1])
    for file in (path, tmp_path / "absent.safetensors"):
        with pytest.raises(BadInput) as refused:
            load_tensors(file, remedy="train again")
        assert (refused.value.subject, refused.value.remedy) == (str(file), "train again")


def test_prefixes_come_and_go() -> None:
    tensors = {"x": torch.ones(1), "prefix.x": torch.zeros(1)}
    assert unprefixed("net", prefixed("net", tensors) | {"other.x": torch.ones(1)}) == tensors
