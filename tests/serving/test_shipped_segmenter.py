"""The shipped segmenter: images in, an outline out, without training, server or account."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from components.cohort.images import read_image
from components.cohort.phantom.dataset import make_cohort
from components.cohort.phantom.settings import PhantomSettings
from components.cohort.phantom.sites import site_named
from components.core.errors import BadInput
from components.core.imaging.overlap import dice
from components.core.vocabulary import Sequence
from components.synthetic.model import SHIPPED, SyntheticSegmenter
from serving.segmentation import FILES, SegmentationFiles, segment_patient

LARGEST_BYTES = 20e6


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    make_cohort(site_named("snuh"), 1, 11, folder, PhantomSettings(resolution_mm=2.0))
    return folder / "snuh-0001"


@pytest.fixture(scope="module")
def model() -> SyntheticSegmenter:
    return SyntheticSegmenter.load()


def files_of(phantom: Path, *sequences: Sequence) -> SegmentationFiles:
    return SegmentationFiles({s: phantom / f"{s.value}.nii.gz" for s in sequences}, "P1")


def overlap(out: Path, phantom: Path) -> float:
    masks = [read_image(out / "tumor_mask.nii.gz"), read_image(phantom / "tumor_mask.nii.gz")]
    moved = sitk.Resample(masks[0], masks[1], sitk.Transform(), sitk.sitkNearestNeighbor)
    return dice(*(sitk.GetArrayFromImage(mask) > 0 for mask in (moved, masks[1])))


def test_a_phantom_s_tumour_is_outlined_from_all_three(
    phantom: Path, model: SyntheticSegmenter, tmp_path: Path
) -> None:
    result = segment_patient(files_of(phantom, *Sequence), tmp_path, model=model)
    assert result["status"] == "ok"
    assert json.loads((tmp_path / "segmentation.json").read_text()) == result
    assert result["trained_on"] == "synthetic patients"
    assert result["sequences"] == ["t1c", "t2", "flair"]
    mask = read_image(tmp_path / "tumor_mask.nii.gz")
    t1c = read_image(phantom / "t1c.nii.gz")
    assert mask.GetSize() == t1c.GetSize()
    assert np.allclose(mask.GetOrigin(), t1c.GetOrigin(), atol=1e-3)
    volume = sitk.GetArrayFromImage(mask).sum() * np.prod(mask.GetSpacing()) / 1000
    assert result["tumor_volume_ml"] == pytest.approx(volume, rel=0.1)
    assert overlap(tmp_path, phantom) > 0.6
    assert "<img" in (tmp_path / "segmentation.html").read_text()


@pytest.mark.parametrize("reference", [Sequence.FLAIR, Sequence.T2])
def test_one_sequence_alone_is_segmented_on_its_own_grid(
    phantom: Path, model: SyntheticSegmenter, tmp_path: Path, reference: Sequence
) -> None:
    result = segment_patient(files_of(phantom, reference), tmp_path, model=model)
    assert result["grid_of"] == reference.value
    assert result["sequences"] == [reference.value]
    mask, image = (
        read_image(path)
        for path in (tmp_path / "tumor_mask.nii.gz", phantom / f"{reference.value}.nii.gz")
    )
    assert mask.GetSize() == image.GetSize()
    assert any("FLAIR" in said for said in result["warnings"]) == (reference is Sequence.T2)


def test_an_image_without_a_brain_is_abstained_on(
    phantom: Path, model: SyntheticSegmenter, tmp_path: Path
) -> None:
    image = read_image(phantom / "t1c.nii.gz")
    noise = np.random.default_rng(0).normal(100, 20, image.GetSize()[::-1]).astype(np.float32)
    written = sitk.GetImageFromArray(noise)
    written.CopyInformation(image)
    sitk.WriteImage(written, str(tmp_path / "noise.nii.gz"))
    out = tmp_path / "out"
    files = SegmentationFiles({Sequence.T1C: tmp_path / "noise.nii.gz"})
    try:
        result = segment_patient(files, out, model=model)
    except BadInput as refused:
        assert refused.remedy
        return
    assert result["status"] == "abstain"
    assert result["tumor_volume_ml"] is None
    assert [path.name for path in out.iterdir()] == ["segmentation.json"]


def test_bad_input_is_refused_before_anything_is_written(
    phantom: Path, model: SyntheticSegmenter, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(BadInput):
        segment_patient(SegmentationFiles({}), out, model=model)
    twice = {Sequence.T1C: phantom / "t1c.nii.gz", Sequence.FLAIR: phantom / "t1c.nii.gz"}
    with pytest.raises(BadInput):
        segment_patient(SegmentationFiles(twice), out, model=model)
    with pytest.raises(BadInput):
        segment_patient(SegmentationFiles({Sequence.T1C: tmp_path / "gone.nii"}), out, model=model)
    with pytest.raises(BadInput):
        SegmentationFiles({Sequence.T1C: tmp_path / "x.nii"}, "Jane Doe").as_patient()
    assert not out.exists()


def test_the_shipped_files_are_small_and_free_of_pickles() -> None:
    files = [path for path in SHIPPED.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST_BYTES
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".csv", ".md"}


def test_files_appear_in_the_order_that_readers_rely_on() -> None:
    assert FILES[-1] == "segmentation.json"
