"""Profiles: what comes with glioflow loads, what is misspelt is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.core.errors import BadInput
from pipelines.profile import load_profile, profile_names


def test_the_profiles_load() -> None:
    assert profile_names() == ["demo", "lgg", "paper", "study", "synthetic"]
    for name in profile_names():
        assert load_profile(name).name == name


def test_paper_has_the_papers_sizes() -> None:
    paper = load_profile("paper")
    assert paper.preprocess.grid == 128
    assert paper.preprocess.working_mm == 1.0
    assert paper.segment.network.width == 21
    assert paper.classify.network.width == 64
    assert paper.classify.network.blocks == (3, 4, 6, 3)


def test_validation_requires_the_sequences_that_are_prepared() -> None:
    for name in profile_names():
        profile = load_profile(name)
        assert profile.validation.sequences == profile.preprocess.sequences


def test_study_has_the_papers_cohorts() -> None:
    cohort = load_profile("study").cohort
    assert {made.site: made.patients for made in cohort.cohorts} == {
        "severance": 856,
        "snuh": 107,
        "tcia": 203,
    }
    assert [round(856 * share) for share in cohort.splits] == [596, 131, 129]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("description: x\nsegmnt: {}\n", "segmnt"),
        ("description: x\nsegment: {widht: 3}\n", r"segment\.widht"),
        ("description: x\npreprocess: {grid: abc}\n", r"preprocess\.grid"),
        ("description: [\n", "not YAML"),
        ("description: x\nsegment: {folds: 5}\n", r"segment\.folds"),
        ("description: x\nfeatures: {channels: [t1c, t1c]}\n", "two different"),
        (
            "description: x\nvalidation: {sequences: [t1c]}\n"
            "preprocess: {sequences: [t1c, flair]}\n",
            r"validation\.sequences",
        ),
    ],
)
def test_a_bad_profile_is_refused_by_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        load_profile(str(path))


def test_an_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match="demo, lgg, paper, study"):
        load_profile("tiny")


def test_limits_of_images_are_one_for_validation_and_preprocessing(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("description: own\nvalidation: {field_mm: [120, 350]}\n")
    profile = load_profile(str(path))
    assert profile.preprocess.images.field_mm == profile.validation.field_mm == (120.0, 350.0)
    path.write_text("description: own\npreprocess: {images: {field_mm: [120, 350]}}\n")
    with pytest.raises(BadInput, match="validation"):
        load_profile(str(path))
