"""Validation of thousands of patients: cost in proportion, memory flat, workers used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.validate.factories import Cohort

_MEASURE = """
import json, resource, sys, time
import great_expectations, pandas
from pathlib import Path
from components.validate.validate import validate_manifest
from components.validate.settings import ValidateSettings
from components.core.vocabulary import Sequence
settings = ValidateSettings(sequences=(Sequence.T1C, Sequence.FLAIR), workers=int(sys.argv[3]))
before, cpu = time.perf_counter(), time.process_time()
report = validate_manifest(sys.argv[1], settings, Path(sys.argv[2]) / "out").report
children = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({
    "accepted": report["accepted"],
    "wall_s": time.perf_counter() - before,
    "cpu_s": time.process_time() - cpu,
    "children_cpu_s": children.ru_utime,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def measure(manifest: Path, out: Path, workers: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(manifest), str(out), str(workers)],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_thousand_patients_cost_in_proportion(tmp_path: Path) -> None:
    few = Cohort(tmp_path / "few", patients=500)
    many = Cohort(tmp_path / "many", patients=2000)
    small = measure(few.write(), tmp_path / "a", 1)
    large = measure(many.write(), tmp_path / "b", 1)
    parallel = measure(many.write(), tmp_path / "c", 2)
    sys.stderr.write(f"500: {small}\n2000: {large}\n2000, two workers: {parallel}\n")
    assert (small["accepted"], large["accepted"], parallel["accepted"]) == (500, 2000, 2000)
    assert large["cpu_s"] < 4.8 * small["cpu_s"], "dearer a patient in a larger cohort"
    assert large["peak_mb"] < 1.15 * small["peak_mb"], "memory grows with the cohort"
    assert parallel["children_cpu_s"] > parallel["cpu_s"] * 0.5, "the workers did nothing"
