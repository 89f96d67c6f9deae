"""The ensemble on a real Triton server: equal to the library, clear about bad tensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.classify.inference.classifier import Classifier
from components.core.errors import BadInput
from components.core.vocabulary import FEATURE_NAMES, QUANTILES, Status
from components.features.feature_slice import StepSpec, feature_slice_step
from components.preprocess.atlas.regions import atlas_of
from components.release.inference.local_release import LocalRelease
from components.release.inference.request import request_tensors
from components.segment.inference.segmenter import Segmenter
from serving.client.client import Client
from serving.triton.server import LocalServer
from tests.serving.shop import Shop

Tensors = dict[str, np.ndarray]


@pytest.fixture
def tensors(shop: Shop) -> Tensors:
    return request_tensors(shop.case(1), shop.release.contents)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_ensemble_says_what_the_trained_models_say(
    shop: Shop, client: Client, seed: int
) -> None:
    case = shop.case(seed)
    answer = client.ask(request_tensors(case, shop.release.contents))
    segmenter, classifier = Segmenter.load(shop.segmenter), Classifier.load(shop.classifier)
    spec = StepSpec(
        rule=segmenter.rule,
        channels=classifier.channels,
        clip=shop.plan.clip,
        atlas=atlas_of(shop.plan.atlas_files),
    )
    step = feature_slice_step(
        segmenter.case_probability(case),
        {s: case.volume(s) for s in case.sequences},
        case.brain,
        case.grid,
        case.working,
        case.to_mni,
        float(case.age or 0),
        spec,
    )
    assert np.array_equal(answer.mask, step.mask_working)
    assert answer.slices == tuple(step.slices.tolist())
    assert answer.features is not None
    assert list(answer.features.values()) == pytest.approx(step.features.tolist(), rel=1e-6)
    assert tuple(answer.features) == FEATURE_NAMES
    found = classifier.predict(step.images[None], step.features[None])
    assert answer.probability == pytest.approx(float(found.probability[0]), abs=1e-4)
    assert answer.slice_probabilities == pytest.approx(
        found.slice_probability[0].tolist(), abs=1e-4
    )


@pytest.mark.parametrize("seed", [4, 5])
def test_in_process_and_triton_are_equal(shop: Shop, client: Client, seed: int) -> None:
    tensors = request_tensors(shop.case(seed), shop.release.contents)
    served = client.ask(tensors)
    local = LocalRelease(shop.release.folder).ask(tensors)
    assert np.array_equal(served.mask, local.mask)
    assert served.probability == pytest.approx(local.probability, abs=1e-4)
    assert served.slices == local.slices
    assert served.features == local.features
    assert (served.status, served.release) == (local.status, local.release)
    assert served.warnings == local.warnings


def test_no_tumour_is_a_status_not_a_number(shop: Shop, client: Client) -> None:
    tensors = request_tensors(shop.case(6, tumor=False), shop.release.contents)
    answer = client.ask(tensors)
    assert answer.status is Status.NO_TUMOR
    assert (answer.probability, answer.uncertainty, answer.ood) == (None, None, None)
    assert (answer.features, answer.slices, answer.slice_probabilities) == (None, None, None)
    assert answer.tumor_ml == 0.0
    assert not answer.mask.any()


def _nan(array: np.ndarray) -> np.ndarray:
    spoiled = array.copy()
    spoiled.reshape(-1)[array.size // 2] = np.nan
    return spoiled


BAD: list[tuple[str, str, Callable[[np.ndarray], np.ndarray], str]] = [
    ("NaN voxel", "t1c", _nan, "NaN"),
    ("NaN in a channel that the segmenter does not read", "t2", _nan, "NaN"),
    ("not z-scores", "flair", lambda a: a * 100, "z-scores"),
    ("wrong age", "age", lambda a: a * 0 + 400, "400 is out of range"),
    ("NaN age", "age", _nan, "NaN"),
    ("empty brain", "brain", np.zeros_like, "brain of 0 mL"),
    ("brain with other labels", "brain", lambda a: a * 3, "value 3"),
    ("singular grid", "grid_affine", np.zeros_like, ""),
    ("huge box", "grid_affine", lambda a: a * np.array([[9], [9], [9], [1]]), "box"),
    ("absurd alignment", "to_mni", lambda a: a * np.array([[9], [9], [9], [1]]), "volumes"),
    ("other plan", "plan", np.zeros_like, "preprocessing plan"),
]


@pytest.mark.parametrize(("what", "name", "spoil", "said"), BAD, ids=[row[0] for row in BAD])
def test_bad_tensors_are_refused_by_name(
    client: Client,
    tensors: Tensors,
    what: str,
    name: str,
    spoil: Callable[[np.ndarray], np.ndarray],
    said: str,
) -> None:
    bad = {**tensors, name: np.ascontiguousarray(spoil(tensors[name]), tensors[name].dtype)}
    with pytest.raises(BadInput) as refused:
        client.ask(bad)
    assert refused.value.subject == name, what
    assert said in refused.value.problem
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("t1c", lambda a: a[:-1]),
        ("t1c", lambda a: a[None]),
        ("age", lambda a: a.astype(np.float64)),
        ("brain", lambda a: a.astype(np.float32)),
    ],
    ids=["short", "4-D", "float64 age", "float32 brain"],
)
def test_wrong_shapes_and_types_name_the_tensor(
    client: Client, tensors: Tensors, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    with pytest.raises(BadInput) as refused:
        client.ask({**tensors, name: np.ascontiguousarray(change(tensors[name]))})
    assert name in str(refused.value)


def test_a_missing_tensor_is_named(client: Client, tensors: Tensors) -> None:
    with pytest.raises(BadInput, match="flair"):
        client.ask({name: array for name, array in tensors.items() if name != "flair"})


def test_the_server_answers_after_every_refusal(
    shop: Shop, client: Client, tensors: Tensors
) -> None:
    with pytest.raises(BadInput):
        client.ask({**tensors, "t1c": _nan(tensors["t1c"])})
    assert client.ask(tensors).release == shop.release.release
    assert client.canary() is None


def test_each_prediction_leaves_one_audit_line(
    shop: Shop, server: LocalServer, client: Client, tensors: Tensors, tmp_path: Path
) -> None:
    client.ask(tensors, request_id="audited-1")
    client.ask(tensors, request_id="audited-2")
    path = server._audit
    assert path is not None
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    first, second = (
        next(line for line in lines if line["request_id"] == name)
        for name in ("audited-1", "audited-2")
    )
    assert first["input_sha256"] == second["input_sha256"]
    assert first["release"] == shop.release.release
    assert first["probability_idh_mutant"] == second["probability_idh_mutant"]
    assert set(first) >= {"time", "request_id", "release", "input_sha256", "status"}
    conformal = shop.release.contents.conformal
    assert conformal is not None
    expected = conformal.idh_set(first["probability_idh_mutant"]).value
    assert (first["conformal"]["idh"], first["conformal"]["level"]) == (expected, 0.5)
    inside = tensors["t1c"][tensors["brain"] > 0]
    for name, share in QUANTILES.items():
        assert first["intensities"][f"t1c {name}"] == pytest.approx(
            np.quantile(inside, share), abs=1e-5
        )
