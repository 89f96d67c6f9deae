"""Prepared cases on disk: exact, whole or absent, and without anything pickled."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from components.cohort.prepared import read_case, read_cases, write_case
from components.core.errors import BadInput
from components.core.vocabulary import Sequence
from tests.factories import make_prepared_case, write_prepared_set


@pytest.mark.parametrize("tumor", [True, False])
def test_a_case_is_read_as_it_was_written(tmp_path: Path, tumor: bool) -> None:
    case = make_prepared_case(1, tumor=tumor, fold=2)
    again = read_case(write_case(tmp_path, case))
    for item in fields(case):
        ours, theirs = getattr(case, item.name), getattr(again, item.name)
        if isinstance(ours, np.ndarray):
            assert np.array_equal(ours, theirs), item.name
        else:
            assert ours == theirs, item.name


def test_volumes_stay_on_disk_and_cannot_be_changed(tmp_path: Path) -> None:
    again = read_case(write_case(tmp_path, make_prepared_case(1)))
    assert isinstance(again.volumes, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        again.volumes[0, 0, 0, 0] = 1.0


def test_the_same_case_has_the_same_bytes(tmp_path: Path) -> None:
    one = write_case(tmp_path / "a", make_prepared_case(1))
    two = write_case(tmp_path / "b", make_prepared_case(1))
    for file in ("case.json", "volumes.npy"):
        assert (one / file).read_bytes() == (two / file).read_bytes()


@pytest.mark.parametrize("file", ["case.json", "volumes.npy", "masks.npz"])
@pytest.mark.parametrize("damage", ["missing", "cut", "text"])
def test_a_damaged_case_is_refused_by_name(tmp_path: Path, file: str, damage: str) -> None:
    path = write_case(tmp_path, make_prepared_case(1))
    content = (path / file).read_bytes()
    (path / file).unlink()
    if damage == "cut":
        (path / file).write_bytes(content[: len(content) // 2])
    elif damage == "text":
        (path / file).write_text("nothing of the kind")
    with pytest.raises(BadInput, match="not a prepared case") as refused:
        read_case(path)
    assert str(path) in refused.value.subject


def test_a_sequence_that_is_not_there_is_named(tmp_path: Path) -> None:
    case = make_prepared_case(1, sequences=(Sequence.T1C, Sequence.FLAIR))
    with pytest.raises(BadInput, match="no t2 among"):
        case.volume(Sequence.T2)


def test_a_set_is_read_in_order(tmp_path: Path) -> None:
    cases = [make_prepared_case(seed) for seed in (3, 1, 2)]
    found = read_cases([write_prepared_set(tmp_path / "set", cases)])
    assert [case.patient_id for case in found] == sorted(case.patient_id for case in cases)
