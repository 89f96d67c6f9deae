"""Training of all four models: what is written, who has seen whom, and resuming."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from components.classify.comparators.age import AgeModel
from components.classify.comparators.forest import Forest
from components.classify.data.samples import plan_classifier_members, read_samples
from components.classify.inference.abstention import AbstentionLimits
from components.classify.inference.classifier import AGE_FILE, FOREST_FILE, Classifier
from components.classify.network.export import INPUT_NAMES, OUTPUT_NAMES, export_onnx
from components.classify.predictions import COLUMNS
from components.classify.settings import (
    ClassifySettings,
    ForestSettings,
    ResNetSettings,
    StageSettings,
)
from components.classify.training.outputs import write_classifier_outputs
from components.classify.training.train import train_classifiers
from components.core.device import Device
from components.core.errors import BadInput
from components.core.files import read_json, sha256_file
from components.core.vocabulary import Model, Status
from tests.classify.factories import make_samples

SETTINGS = ClassifySettings(
    network=ResNetSettings(blocks=(1, 1, 1, 1), width=4, statistics=True),
    warm=StageSettings(epochs=4, learning_rate=3e-3),
    fine=StageSettings(epochs=6, learning_rate=1e-2),
    forest=ForestSettings(trees=10, folds=3, min_leaf=(2,), max_features=(0.5,), repeats=2),
    seeds=2, batch_size=16, min_patients=8, device=Device.CPU, threads=1, checkpoint_every=1,
    conformal=0.75,
)  # fmt: skip
ROWS = {"p001": {"status": "no_tumor"}, "p002": {"idh": ""}, "p024": {"status": "no_tumor"}}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_samples(
        tmp_path_factory.mktemp("s") / "s", 24, folds=2, external=6, contrast=3.0, rows=ROWS
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    out = tmp_path_factory.mktemp("model")
    train_classifiers(samples, SETTINGS, out)
    return out


@pytest.fixture(scope="module")
def table(model: Path) -> pd.DataFrame:
    return pd.read_csv(model / "predictions.csv")


def test_every_model_answers_for_every_patient(table: pd.DataFrame) -> None:
    assert tuple(table.columns) == COLUMNS
    whole = table[table["slice"].isna()]
    assert whole.groupby("model").size().to_dict() == {m.value: 30 for m in Model}
    assert set(table["subset"]) == {"internal", "snuh"}
    missing = whole[whole["probability"].isna()]
    assert set(missing["patient_id"]) == {"p001", "p024"}
    assert set(missing["status"]) == {"no_tumor"}
    assert set(missing["model"]) == {"hybrid", "resnet", "radiomics"}
    assert whole[whole["patient_id"] == "p002"]["probability"].notna().all()
    assert table.loc[table["probability"].notna(), "probability"].between(0, 1).all()


def test_a_patients_probability_is_the_mean_of_its_slices(table: pd.DataFrame) -> None:
    for name in ("hybrid", "resnet"):
        rows = table[(table["model"] == name) & table["probability"].notna()]
        single = rows[rows["slice"].notna()].groupby("patient_id")["probability"]
        whole = rows[rows["slice"].isna()].set_index("patient_id")["probability"]
        assert (single.size() == 5).all()
        np.testing.assert_allclose(single.mean().sort_index(), whole.sort_index(), atol=1e-9)


def test_the_hybrid_learns(model: Path) -> None:
    found = json.loads((model / "model.json").read_text())["held_out_auroc"]
    assert found["hybrid"] > 0.75


def test_nobody_is_answered_by_a_network_that_has_seen_him(samples: Path, model: Path) -> None:
    described = json.loads((model / "model.json").read_text())
    table = read_samples(samples)
    for entry, member in zip(described["members"], plan_classifier_members(table, 8), strict=True):
        assert entry["training_patients"] == table.patient_ids[member.training].tolist()
        assert not set(entry["training_patients"]) & set(entry["held_out_patients"])
        assert entry["fold"] == member.fold


def test_out_of_fold_answers_come_from_the_members_own_networks(
    samples: Path, model: Path, table: pd.DataFrame
) -> None:
    read = read_samples(samples)
    for model_name, kind, file in (
        (Model.RADIOMICS, Forest, FOREST_FILE),
        (Model.AGE, AgeModel, AGE_FILE),
    ):
        stored = [kind.from_json(one) for one in read_json(model / file)["members"]]
        rows = table[table["model"] == model_name.value].set_index("patient_id")["probability"]
        for member, one in zip(plan_classifier_members(read, 8), stored, strict=True):
            given = read.age if model_name is Model.AGE else read.features
            expected = one.predict(given[member.held_out])
            found = rows[read.patient_ids[member.held_out]].to_numpy()
            np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_saved_classifier_answers_external_patients_alike(
    samples: Path, model: Path, table: pd.DataFrame
) -> None:
    classifier = Classifier.load(model)
    read = read_samples(samples)
    rows = np.flatnonzero(~read.development & read.usable)
    found = classifier.predict(read.images(rows), read.features[rows])
    hybrid = table[table["model"] == "hybrid"]
    whole = hybrid[hybrid["slice"].isna()].set_index("patient_id").loc[read.patient_ids[rows]]
    for name in ("probability", "uncertainty", "ood"):
        np.testing.assert_allclose(getattr(found, name), whole[name], atol=1e-5)
    limits = AbstentionLimits(classifier.abstain_above, classifier.ood_limit)
    abstained = limits.unsure(found.uncertainty) | limits.unlike(found.ood)
    assert abstained.tolist() == (whole["status"] == Status.ABSTAIN.value).tolist()
    assert classifier.trained_on.value == "phantoms"
    assert [c.value for c in classifier.channels] == ["t1c", "flair"]


def test_sets_are_calibrated_out_of_fold_and_said_of_others_alone(
    samples: Path, model: Path, table: pd.DataFrame
) -> None:
    found = Classifier.load(model).conformal
    assert found is not None
    whole = table[(table["model"] == "hybrid") & table["slice"].isna()].set_index("patient_id")
    held_out = read_json(model / "model.json")["members"]
    calibrating = whole.loc[[name for member in held_out for name in member["held_out_patients"]]]
    for status, scores in ((1, found.mutant), (0, found.wildtype)):
        own = calibrating.loc[calibrating["idh"] == status, "probability"]
        np.testing.assert_allclose(sorted(own), scores)
    assert calibrating["idh_set"].isna().all()
    others = whole[whole["probability"].notna()].drop(calibrating.index)
    assert {"p002"} < set(others.index), "an unknown status calibrates nothing"
    assert others["idh_set"].tolist() == [found.idh_set(p).value for p in others["probability"]]
    assert (others["set_level"] == 0.75).all()


def test_a_level_that_the_held_out_cannot_carry_is_refused_before_training(
    samples: Path, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"conformal": 0.99})
    with pytest.raises(BadInput, match=r"classify\.conformal, level 0\.99.*at most"):
        train_classifiers(samples, settings, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_onnx_answers_what_the_classifier_does(samples: Path, model: Path, tmp_path: Path) -> None:
    import onnxruntime

    export_onnx(model, tmp_path / "model.onnx")
    assert b".py" not in (tmp_path / "model.onnx").read_bytes(), "names the exporter's files"
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert tuple(i.name for i in session.get_inputs()) == INPUT_NAMES
    read, classifier = read_samples(samples), Classifier.load(model)
    for rows in ([0], [3, 4, 5]):
        images, features = read.images(rows), read.features[rows].astype(np.float32)
        expected = classifier.predict(images, features)
        found = session.run(OUTPUT_NAMES, {"images": images, "features": features})
        for name, array in zip(OUTPUT_NAMES, found, strict=True):
            np.testing.assert_allclose(array, getattr(expected, name), atol=1e-5, err_msg=name)


def test_a_killed_run_continues_to_the_same_bytes(
    samples: Path, model: Path, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def kill_at(limit: int):
        def report(done: int, total: int, what: str) -> None:
            if done >= limit:
                raise Killed

        return report

    for limit in (2, 7, 23):
        with pytest.raises(Killed):
            train_classifiers(samples, SETTINGS, tmp_path, progress=kill_at(limit))
    train_classifiers(samples, SETTINGS, tmp_path)
    for name in ("hybrid_0", "hybrid_1", "resnet_0"):
        file = f"{name}.safetensors"
        assert sha256_file(tmp_path / file) == sha256_file(model / file), name
    assert sha256_file(tmp_path / "predictions.csv") == sha256_file(model / "predictions.csv")
    assert not (tmp_path / ".checkpoints").exists()


def test_other_settings_do_not_continue_a_foreign_checkpoint(samples: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_classifiers(samples, SETTINGS, tmp_path, progress=stop)
    other = SETTINGS.model_copy(update={"balance": False, "seeds": 1})
    train_classifiers(samples, other, tmp_path)
    curves = pd.read_csv(tmp_path / "curves.csv")
    assert (curves.groupby("network").size() == curves.groupby("network")["epoch"].max() + 1).all()


def test_early_stop_keeps_the_best_epoch(tmp_path: Path) -> None:
    folder = make_samples(tmp_path / "s", 24, effect=2.0, contrast=3.0)
    stage = StageSettings(epochs=12, learning_rate=3e-2, patience=2)
    settings = SETTINGS.model_copy(update={"warm": stage, "fine": stage, "seeds": 1})
    train_classifiers(folder, settings, tmp_path / "m")
    curves = pd.read_csv(tmp_path / "m" / "curves.csv")
    stopped = False
    for _, curve in curves.groupby("network"):
        best = curve["tuning_loss"].to_numpy().argmin()
        assert len(curve) in (12, best + 3)
        stopped |= len(curve) < 12
    assert stopped
    subsets = pd.read_csv(tmp_path / "m" / "predictions.csv")["subset"]
    assert set(subsets) == {"training", "tuning"}


def test_step_outputs(model: Path, tmp_path: Path) -> None:
    numbers = write_classifier_outputs(model, tmp_path / "p" / "out.csv", tmp_path / "metrics")
    assert sha256_file(tmp_path / "p" / "out.csv") == sha256_file(model / "predictions.csv")
    assert json.loads((tmp_path / "metrics").read_text()) == numbers
    assert set(numbers) == {f"held_out_auroc_{m.value}" for m in Model}


def test_what_must_not_be_asked_is_refused(samples: Path, model: Path) -> None:
    classifier, read = Classifier.load(model), read_samples(samples)
    images, features = read.images([0]), read.features[[0]]
    nan = features.copy()
    nan[0, 23] = np.nan
    empty = images.copy()
    empty[:, :, 2] = 0
    for bad, message in (
        ((images, nan), "age not a finite number"),
        ((empty, features), "empty tumour mask"),
        ((images[:, :4], features), "shape"),
        ((images, features[:, :20]), "shape"),
        ((images * np.nan, features), "NaN"),
    ):
        with pytest.raises(BadInput, match=message):
            classifier.predict(*bad)


def test_an_altered_model_folder_is_refused(model: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(model, tmp_path / "m")
    file = copy / "hybrid_1.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(BadInput, match="hybrid_1"):
        Classifier.load(copy)
    (copy / "model.json").write_text("{}")
    with pytest.raises(BadInput, match="not a classifier's description"):
        Classifier.load(copy)


def test_status_follows_both_limits(model: Path) -> None:
    classifier = Classifier.load(model)
    limits = AbstentionLimits(classifier.abstain_above, classifier.ood_limit)
    assert not limits.reasons(0.0, 0.5)
    assert len(limits.reasons(1.1, 0.5)) == 1
    assert len(limits.reasons(0.0, 99.0)) == 1
    assert len(limits.reasons(float("nan"), float("nan"))) == 2


def test_cuda_is_refused_where_there_is_none(samples: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(BadInput, match=r"classify\.device = cuda: no CUDA device"):
        train_classifiers(samples, SETTINGS.model_copy(update={"device": Device.CUDA}), tmp_path)


def test_training_is_the_same_when_images_do_not_fit_in_memory(
    samples: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_patient = 4 * int(np.prod(read_samples(samples).shape))
    monkeypatch.setattr("components.classify.data.slices.IN_MEMORY_BYTES", 3 * a_patient)
    train_classifiers(samples, SETTINGS, tmp_path)
    for path in sorted(model.glob("*.safetensors")):
        assert sha256_file(tmp_path / path.name) == sha256_file(path)
