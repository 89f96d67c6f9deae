"""Slices of patients, in memory or read when asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from components.classify.data.samples import Samples, read_samples
from components.classify.data.slices import PatientSlices
from components.core.errors import BadInput
from tests.classify.factories import make_samples

CPU = torch.device("cpu")
ROWS = np.array([5, 2, 9, 0, 7])


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    return read_samples(make_samples(tmp_path / "s", 12))


@pytest.mark.parametrize("kept", [0, 1, 3, 5, 100])
def test_what_does_not_fit_in_memory_is_the_same_when_read(samples: Samples, kept: int) -> None:
    a_patient = 4 * int(np.prod(samples.shape))
    found = PatientSlices(samples, ROWS, CPU, in_memory=kept * a_patient + a_patient // 2)
    all_of_them = torch.from_numpy(samples.images(ROWS))
    assert len(found) == 5
    for start in range(0, 5, 2):
        assert torch.equal(found[start : start + 2], all_of_them[start : start + 2])
    patient, which = torch.tensor([4, 0, 3, 3, 2, 1]), torch.tensor([0, 4, 1, 1, 3, 2])
    assert torch.equal(found.gather(patient, which), all_of_them[patient, which])


def test_only_so_many_patients_as_fit_are_read_at_the_start(samples: Samples) -> None:
    damaged = samples.folder / "images" / f"{samples.patient_ids[ROWS[3]]}.npy"
    damaged.write_bytes(b"not an array")
    found = PatientSlices(samples, ROWS, CPU, in_memory=3 * 4 * int(np.prod(samples.shape)))
    found.gather(torch.tensor([0, 4]), torch.tensor([0, 0]))
    with pytest.raises(BadInput, match=damaged.name):
        found.gather(torch.tensor([0, 3]), torch.tensor([0, 0]))
