"""The paper's Table 1 (Choi et al. 2021), rebuilt from its counts, through `compare-cohorts`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.evaluate.statistics.table_one import cohorts_markdown, compare_manifests
from pipelines import cli

# name: (age mean, age SD, men, women, {(grade, idh, codeletion): patients}), as Table 1 prints it,
# but for the means' second and third decimals, which it does not print: of the means that round to
# its own, these give its P-values of age.
# One grade IV mutant of Severance has no known 1p/19q status; its 491 + 16 + 4 + 1 are the 512.
PAPER = {
    "severance": (52.94, 15.4, 492, 364, {
        (2, 0, 0): 37, (2, 1, 0): 80, (2, 1, 1): 58, (3, 0, 0): 89, (3, 1, 0): 32, (3, 1, 1): 48,
        (4, 0, 0): 491, (4, 1, 0): 16, (4, 1, 1): 4, (4, 1, None): 1}),
    "snuh": (50.888, 15.5, 64, 43, {
        (2, 0, 0): 5, (2, 1, 0): 1, (2, 1, 1): 8, (3, 0, 0): 15, (3, 1, 0): 12, (3, 1, 1): 8,
        (4, 0, 0): 57, (4, 1, 0): 1}),
    "tcia": (52.665, 14.9, 108, 95, {
        (2, 0, 0): 3, (2, 1, 0): 28, (2, 1, 1): 17, (3, 0, 0): 17, (3, 1, 0): 24, (3, 1, 1): 11,
        (4, 0, 0): 99, (4, 1, 0): 3, (4, 1, 1): 1}),
}  # fmt: skip
PRINTED = {
    "snuh": {"age": 0.194, "sex": 0.721, "idh": 1.0, "grade": 0.005},
    "tcia": {"age": 0.818, "sex": 0.305, "idh": 0.00025, "grade": 0.054},
}
"""P-values as printed; IDH as ">0.999" and "<0.001"."""


def ages(mean: float, sd: float, count: int) -> np.ndarray:
    """`count` ages of exactly this mean and SD, within the ages that a manifest may hold."""
    drawn = np.linspace(-1.6, 1.6, count)
    return mean + sd * (drawn - drawn.mean()) / drawn.std(ddof=1)


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("paper")
    paths = []
    for name, (mean, sd, men, women, groups) in PAPER.items():
        people = [key for key, count in groups.items() for _ in range(count)]
        sexes = ["M"] * men + ["F"] * women
        path = folder / f"{name}.csv"
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(
                ["patient_id", "site", "t1c", "flair", "age", "idh", "sex", "grade", "codeletion"]
            )
            rows = zip(people, sexes, ages(mean, sd, len(people)), strict=True)
            for index, ((grade, idh, codeleted), sex, age) in enumerate(rows):
                deleted = "" if codeleted is None else codeleted
                writer.writerow([f"p{index}", name, "", "", age, idh, sex, grade, deleted])
        paths.append(path)
    return paths


def test_the_paper_s_p_values_come_out(manifests: list[Path]) -> None:
    found = compare_manifests(manifests)
    assert found["reference"] == "severance"
    for name, printed in PRINTED.items():
        for row, p in printed.items():
            value = found["comparisons"][name][row]["p"]
            assert value == pytest.approx(p, abs=0.0006), (name, row)


def test_counts_stand_in_the_table_as_in_the_paper(manifests: list[Path]) -> None:
    text = cohorts_markdown(compare_manifests(manifests))
    for cell in ("492 (57.5)", "64 (59.8)", "108 (53.2)", "239 (27.9)", "84 (41.4)", "52.9 ± 15.4",
                 "50.9 ± 15.5", "52.7 ± 14.9", "491 (95.9)"):  # fmt: skip
        assert cell in text, cell


def test_the_command_prints_the_same_json(
    manifests: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["compare-cohorts", *map(str, manifests), "--json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    for name in PRINTED:
        assert set(printed["comparisons"][name]) >= {"age", "sex", "idh", "grade"}
    assert printed["comparisons"]["tcia"]["idh"]["p"] < 0.001
