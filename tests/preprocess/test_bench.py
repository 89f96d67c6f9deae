"""The bench measures what the phantom knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.preprocess.bench.measures import displacement
from components.preprocess.bench.patient import bench_patient, truth_beside
from tests.preprocess.factories import brain_of, phantoms, small_plan


def test_every_stage_is_timed_and_every_truth_compared(tmp_path: Path) -> None:
    (patient,) = phantoms(tmp_path, 1)
    rows = bench_patient(patient, small_plan(working_mm=1.0), truth_beside(patient))
    found = {row.what: row for row in rows}
    assert {"whole", "brain", "align", "mni", "bias"} <= found.keys()
    parts = sum(found[stage].value for stage in ("brain", "align", "mni", "bias"))
    assert 0 < parts <= found["whole"].value
    assert 0 < found["flair alignment error"].value < 1.5
    assert 0 < found["mni alignment error"].value < 2.0
    assert 0.93 < found["brain mask"].value < 1
    assert 0.95 < found["tumour mask there and back"].value <= 1


def test_displacement_is_the_mean_shift_in_millimetres(tmp_path: Path) -> None:
    (patient,) = phantoms(tmp_path, 1)
    moved = np.eye(4)
    moved[:3, 3] = (3.0, 0.0, 4.0)
    assert displacement(np.eye(4), moved, brain_of(patient)) == pytest.approx(5.0)
