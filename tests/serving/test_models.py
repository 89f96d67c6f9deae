"""What the model.py of an exported release names: releases outlive the modules of this package."""

from __future__ import annotations

from importlib.util import find_spec

from components.release.release import VERSION
from components.release.tensors import Step
from tests.serving.shop import Shop

EXPORTED = '''"""A model of this release: the code is that of the glioflow which serves it."""

from serving.triton.models import model_class

TritonPythonModel = model_class("{name}")
'''
"""Content of every model.py that was ever exported so: what it imports must stay."""

NAMES = {
    Step.PREPARE: "prepare",
    Step.CHECK: "check",
    Step.SEGMENTER: "network",
    Step.FEATURE_SLICE: "feature_slice_step",
    Step.CLASSIFIER: "network",
    Step.ANSWER: "answer",
    Step.FINISH: "finish",
}


def test_models_of_a_release_name_the_stable_entry_point_alone(shop: Shop) -> None:
    for step, name in NAMES.items():
        code = (shop.release.folder / step / VERSION / "model.py").read_text()
        assert code == EXPORTED.format(name=name)


def test_names_of_exported_models_have_their_modules() -> None:
    assert all(find_spec(f"serving.triton.models.{name}") for name in NAMES.values())
