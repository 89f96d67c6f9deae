"""Inference: masks on the working grid, out-of-fold members, refusals, ONNX equality, the step."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from components.core.errors import BadInput
from components.core.files import read_json, write_json
from components.core.imaging.overlap import dice
from components.segment.component import train_segmenter_op
from components.segment.evaluation.evaluate import evaluate_segmenter
from components.segment.evaluation.metrics import Summary, hd95
from components.segment.inference.segmenter import (
    Segmenter,
)
from components.segment.network.export import export_onnx
from components.segment.settings import Norm, SegmentSettings, UNetSettings
from components.segment.training.train import train_segmenter
from tests.factories import make_prepared_case, make_prepared_set, write_prepared_set

TINY = SegmentSettings(
    network=UNetSettings(width=4, levels=3, fold_z=2, flat_levels=1, dropout=0.0, centred=True),
    steps=60,
    evaluate_every=0,
    checkpoint_every=100,
    learning_rate=1e-2,
    ema_decay=0.8,
    batch_size=1,
    flips=True,
    threads=1,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prepared_set(tmp_path_factory.mktemp("prepared"), 6, folds=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    folder = tmp_path_factory.mktemp("model")
    train_segmenter([prepared], TINY, folder)
    return folder


def test_development_cases_are_predicted_by_the_member_that_has_not_seen_them(model) -> None:
    segmenter = Segmenter.load(model)
    case = make_prepared_case(3, fold=1)
    volumes = np.stack([case.volume(s) for s in segmenter.inputs])
    alone = [segmenter.probability(volumes, case.brain, member) for member in (0, 1)]
    together = segmenter.probability(volumes, case.brain)
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-6)
    np.testing.assert_array_equal(segmenter.case_probability(case), alone[1])
    external = replace(case, subset="snuh", fold=None)
    np.testing.assert_array_equal(segmenter.case_probability(external), together)
    assert np.abs(alone[0] - alone[1]).max() > 0.01


def test_mirror_images_are_predicted_as_mirror_images(model) -> None:
    segmenter = Segmenter.load(model)
    case = make_prepared_case(11)
    volumes = np.stack([case.volume(s) for s in segmenter.inputs])
    straight = segmenter.probability(volumes, case.brain)
    mirrored = segmenter.probability(volumes[..., ::-1], case.brain[..., ::-1])
    np.testing.assert_allclose(mirrored[..., ::-1], straight, atol=1e-4)


def test_a_case_of_another_plan_is_refused(model) -> None:
    case = replace(make_prepared_case(0), plan_digest="1" * 64)
    with pytest.raises(BadInput, match="another plan"):
        Segmenter.load(model).case_probability(case)


def _copy(model: Path, target: Path) -> Path:
    target.mkdir()
    for file in model.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_broken_model_folders_are_refused_by_file(model, tmp_path) -> None:
    with pytest.raises(BadInput, match=r"model\.json"):
        Segmenter.load(tmp_path)
    truncated = _copy(model, tmp_path / "truncated")
    member = truncated / "member_1.safetensors"
    member.write_bytes(member.read_bytes()[:500])
    with pytest.raises(BadInput, match=r"member_1\.safetensors: not a whole checkpoint"):
        Segmenter.load(truncated)
    missing = _copy(model, tmp_path / "missing")
    (missing / "member_0.safetensors").unlink()
    with pytest.raises(BadInput, match=r"member_0\.safetensors: no such file"):
        Segmenter.load(missing)
    swapped = _copy(model, tmp_path / "swapped")
    (swapped / "member_0.safetensors").write_bytes((model / "member_1.safetensors").read_bytes())
    with pytest.raises(BadInput, match="not those that model"):
        Segmenter.load(swapped)
    other = _copy(model, tmp_path / "other")
    content = read_json(other / "model.json")
    content["architecture"]["network"]["width"] = 8
    (other / "model.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match="its architecture is"):
        Segmenter.load(other)


def test_onnx_predicts_what_the_segmenter_does(model, tmp_path) -> None:
    _assert_onnx_agrees(model, tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert b".py" not in (tmp_path / "model.onnx").read_bytes(), "names the exporter's files"


def test_onnx_predicts_what_a_batch_normalised_segmenter_does(prepared, tmp_path) -> None:
    network = TINY.network.model_copy(update={"norm": Norm.BATCH, "flat_levels": 2})
    settings = TINY.model_copy(update={"network": network})
    train_segmenter([prepared], settings, tmp_path / "model")
    _assert_onnx_agrees(tmp_path / "model", tmp_path / "model.onnx")


def _assert_onnx_agrees(model, file) -> None:
    import onnxruntime

    export_onnx(model, file)
    session = onnxruntime.InferenceSession(file)
    assert {i.name: i.shape for i in session.get_inputs()} == {
        "volumes": [2, 24, 24, 24],
        "brain": [24, 24, 24],
    }
    segmenter = Segmenter.load(model)
    case = make_prepared_case(21)
    volumes = np.stack([case.volume(s) for s in segmenter.inputs])
    (served,) = session.run(
        ["probability"], {"volumes": volumes, "brain": case.brain.astype(np.uint8)}
    )
    assert served.dtype == np.float32
    np.testing.assert_allclose(served, segmenter.probability(volumes, case.brain), atol=1e-4)


def test_evaluation_measures_each_case_by_members_that_have_not_seen_it(
    model, prepared, tmp_path
) -> None:
    external = write_prepared_set(
        tmp_path / "set",
        [make_prepared_case(50 + i, subset="snuh") for i in range(2)]
        + [make_prepared_case(60, subset="snuh", tumor=False)],
    )
    report = evaluate_segmenter(model, [prepared, external], tmp_path / "out")
    assert {name: found["patients"] for name, found in report["sets"].items()} == {
        "snuh": 2,
        "training": 6,
    }
    rows = {row["patient_id"]: row for row in report["patients"]}
    assert rows["case-003"]["member"] == 1
    assert rows["case-050"]["member"] is None
    assert not any(row["seen"] for row in rows.values())
    assert (tmp_path / "out" / "segmentation.csv").read_text().count("\n") == 9
    assert read_json(tmp_path / "out" / "segmentation.json") == report


def test_training_cases_do_not_count_when_one_member_has_learnt_them(tmp_path) -> None:
    folder = make_prepared_set(tmp_path / "set", 4)
    settings = TINY.model_copy(update={"steps": 2})
    train_segmenter([folder], settings, tmp_path / "model")
    report = evaluate_segmenter(tmp_path / "model", folder)
    assert report["sets"]["training"]["patients"] == 0
    assert report["sets"]["training"]["dice"]["mean"] is None
    assert report["sets"]["tuning"]["patients"] == 1


def test_a_model_of_another_clip_is_refused(model, tmp_path) -> None:
    content = read_json(Path(model) / "model.json") | {"clip": 3.0}
    write_json(tmp_path / "model.json", content)
    with pytest.raises(BadInput, match=r"clipped at 3\.0"):
        Segmenter.load(tmp_path)


def test_evaluation_without_masks_is_refused(model, tmp_path) -> None:
    folder = write_prepared_set(tmp_path / "set", [make_prepared_case(0, tumor=False)])
    with pytest.raises(BadInput, match="no case has a manual mask"):
        evaluate_segmenter(model, folder)


def test_distances_and_overlaps_agree_with_monai() -> None:
    from monai.metrics import compute_dice, compute_hausdorff_distance

    rng = np.random.default_rng(0)
    for seed in range(3):
        one = make_prepared_case(seed).tumor
        two = np.roll(one, rng.integers(-2, 3, 3), axis=(0, 1, 2)) | (rng.random(one.shape) > 0.999)
        pair = [torch.from_numpy(m[None, None].astype(np.float32)) for m in (one, two)]
        assert dice(one, two) == pytest.approx(float(compute_dice(*pair)), abs=1e-6)
        expected = float(compute_hausdorff_distance(*pair, percentile=95, spacing=[3.0, 1.5, 2.0]))
        assert hd95(one, two, (3.0, 1.5, 2.0)) == pytest.approx(expected, abs=1e-4)


def test_metrics_of_empty_masks() -> None:
    nothing, something = np.zeros((3, 3, 3), dtype=bool), np.ones((3, 3, 3), dtype=bool)
    assert dice(nothing, nothing) == 1.0
    assert dice(nothing, something) == 0.0
    assert hd95(nothing, something, (1.0, 1.0, 1.0)) is None
    assert Summary.of([]).mean is None
    assert Summary.of([0.5]).sd is None


def test_the_step_writes_model_curves_and_metrics(prepared, tmp_path) -> None:
    logged: dict[str, float] = {}
    metrics = SimpleNamespace(path=str(tmp_path / "metrics"), log_metric=logged.__setitem__)
    segmenter = SimpleNamespace(path=str(tmp_path / "segmenter"), metadata={})
    train_segmenter_op.python_func(
        settings=TINY.model_copy(update={"steps": 2}).model_dump_json(),
        code_version="v",
        prepared=[SimpleNamespace(path=str(prepared))],
        segmenter=segmenter,
        curves=SimpleNamespace(path=str(tmp_path / "curves")),
        metrics=metrics,
    )
    assert Segmenter.load(segmenter.path).rule.threshold == logged["threshold"]
    assert (tmp_path / "curves").read_text().startswith("member,step,learning_rate,loss")
    assert json.loads((tmp_path / "metrics").read_text()) == logged
    assert "tuning_dice_mean" in logged
