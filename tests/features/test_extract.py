"""From prepared cases and a trained segmenter to the samples folder."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from components.cohort.prepared import read_cases
from components.core.device import Device
from components.core.errors import BadInput
from components.core.files import sha256_tree, write_json
from components.core.imaging.overlap import dice
from components.core.vocabulary import FEATURE_NAMES, Sequence
from components.features.extract import COLUMNS, extract_samples
from components.features.settings import FeatureSettings, MaskSource
from components.preprocess.plan import make_plan
from components.preprocess.settings import PreprocessSettings
from components.segment.inference.segmenter import Segmenter
from components.segment.settings import SegmentSettings, UNetSettings
from components.segment.training.train import train_segmenter
from tests.factories import make_prepared_case, write_prepared_set

PLAN = make_plan(PreprocessSettings(grid=24, working_mm=4.0))
SEGMENT = SegmentSettings(
    steps=60, batch_size=2, evaluate_every=0, threads=1, device="cpu",
    network=UNetSettings(width=6, levels=3, dropout=0.0),
)  # fmt: skip


def cases() -> list:
    made = []
    for seed in range(5):
        case = make_prepared_case(seed, patient_id=f"p{seed}", noise=0.2)
        where = {"subset": "training", "fold": seed % 2} if seed < 4 else {"subset": "snuh"}
        made.append(replace(case, plan_digest=PLAN.digest(), **where))
    return made


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_prepared_set(tmp_path_factory.mktemp("set") / "prepared", cases())
    write_json(folder / "plan.json", json.loads(PLAN.model_dump_json()))
    return folder


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    out = tmp_path_factory.mktemp("segmenter")
    train_segmenter([prepared], SEGMENT, out)
    return out


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory, prepared: Path, segmenter: Path) -> Path:
    out = tmp_path_factory.mktemp("samples")
    extract_samples([prepared], segmenter, FeatureSettings(), out)
    return out


def rows_of(samples: Path) -> list[dict[str, str]]:
    with (samples / "features.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_one_row_a_patient_with_all_columns(samples: Path) -> None:
    rows = rows_of(samples)
    assert tuple(rows[0]) == COLUMNS
    assert [row["patient_id"] for row in rows] == [f"p{i}" for i in range(5)]
    assert [row["cohort"] for row in rows] == ["development"] * 4 + ["snuh"]
    assert [row["fold"] for row in rows] == ["0", "1", "0", "1", ""]
    for row in rows:
        assert all(np.isfinite(float(row[name])) for name in FEATURE_NAMES)
        image = np.load(samples / "images" / f"{row['patient_id']}.npy")
        assert image.shape == (5, 3, 24, 24) and image.dtype == np.float32
        assert image.min() >= 0.0 and image.max() <= 1.0


def test_the_member_that_has_not_seen_the_patient_segments(
    samples: Path, prepared: Path, segmenter: Path
) -> None:
    model = Segmenter.load(segmenter)
    for case, row in zip(read_cases([prepared]), rows_of(samples), strict=True):
        volumes = np.stack([case.volume(s) for s in model.inputs])
        member = case.fold if case.subset == "training" else None
        probability = model.probability(volumes, case.brain, member)
        mask = model.rule.mask(probability, case.grid, case.working)
        with np.load(samples / "masks" / f"{case.patient_id}.npz") as archive:
            count = int(np.prod(archive["shape"]))
            kept = np.unpackbits(archive["mask"], count=count).reshape(archive["shape"])
        np.testing.assert_array_equal(kept.astype(bool), mask)
        assert float(row["dice"]) == pytest.approx(dice(mask, case.tumor_working))


def test_what_made_the_samples_is_written_down(samples: Path, segmenter: Path) -> None:
    described = json.loads((samples / "samples.json").read_text())
    assert described["channels"] == ["t1c", "t2"]
    assert described["plan_digest"] == PLAN.digest()
    assert described["segmenter"].items() <= sha256_tree(segmenter).items()
    assert {"model.json", "member_0.safetensors"} <= set(described["segmenter"])
    assert described["segmenter_trained_on"] == "phantoms"
    assert not (samples / ".done").exists()


def test_how_long_the_training_took_changes_nothing(
    prepared: Path, segmenter: Path, samples: Path, tmp_path: Path
) -> None:
    """Learning curves hold seconds: were they part of the samples, no run would repeat another."""
    again = tmp_path / "segmenter"
    shutil.copytree(segmenter, again)
    (again / "curves.csv").write_text("slower this time\n")
    extract_samples([prepared], again, FeatureSettings(), tmp_path / "out")
    assert sha256_tree(tmp_path / "out") == sha256_tree(samples)


def test_manual_masks_and_a_substitute_channel(
    prepared: Path, segmenter: Path, tmp_path: Path
) -> None:
    settings = FeatureSettings(channels=(Sequence.T1C, Sequence.FLAIR), mask=MaskSource.MANUAL)
    extract_samples([prepared], segmenter, settings, tmp_path)
    assert {row["dice"] for row in rows_of(tmp_path)} == {"1.0"}
    assert json.loads((tmp_path / "samples.json").read_text())["channels"] == ["t1c", "flair"]


def test_a_patient_without_the_mask_is_set_aside(
    prepared: Path, segmenter: Path, tmp_path: Path
) -> None:
    extra = replace(cases()[4], patient_id="p9", tumor=None, tumor_working=None)
    folder = write_prepared_set(tmp_path / "more", [extra])
    out = tmp_path / "out"
    extract_samples([prepared, folder], segmenter, FeatureSettings(mask=MaskSource.MANUAL), out)
    assert "p9,no manual mask" in (out / "failed.csv").read_text()
    assert len(rows_of(out)) == 5


def test_several_at_a_time_make_the_same_samples(
    prepared: Path, segmenter: Path, samples: Path, tmp_path: Path
) -> None:
    extract_samples([prepared], segmenter, FeatureSettings(workers=3), tmp_path)
    assert sha256_tree(tmp_path) == sha256_tree(samples)


def test_a_killed_run_continues_and_ends_the_same(
    prepared: Path, segmenter: Path, samples: Path, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    seen: list[str] = []

    def kill(done: int, total: int, what: str) -> None:
        seen.append(what)
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        extract_samples([prepared], segmenter, FeatureSettings(), tmp_path, progress=kill)
    stamp = (tmp_path / "images" / "p1.npy").stat().st_mtime_ns
    extract_samples([prepared], segmenter, FeatureSettings(), tmp_path)
    assert (tmp_path / "images" / "p1.npy").stat().st_mtime_ns == stamp
    assert (tmp_path / "features.csv").read_bytes() == (samples / "features.csv").read_bytes()
    assert sha256_tree(tmp_path) == sha256_tree(samples)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_missing_gpu_is_said(prepared: Path, segmenter: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"features\.device = cuda: no CUDA device"):
        extract_samples([prepared], segmenter, FeatureSettings(device=Device.CUDA), tmp_path)


def test_refusals(prepared: Path, segmenter: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no prepared case"):
        extract_samples([tmp_path], segmenter, FeatureSettings(), tmp_path / "out")
    with pytest.raises(BadInput, match="prepared twice"):
        extract_samples([prepared, prepared], segmenter, FeatureSettings(), tmp_path / "out")
    other = [replace(c, plan_digest="1" * 64, patient_id="x") for c in cases()[:1]]
    folder = write_prepared_set(tmp_path / "other", other)
    with pytest.raises(BadInput, match="two different plans"):
        extract_samples([prepared, folder], segmenter, FeatureSettings(), tmp_path / "out")
    with pytest.raises(ValueError, match="two different sequences"):
        FeatureSettings(channels=(Sequence.T1C, Sequence.T1C))
