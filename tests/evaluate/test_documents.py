"""evaluation.json through its model: the same bytes, typed values, and refusals."""

import json
from pathlib import Path

import pytest

from components.core.errors import BadInput
from components.core.vocabulary import Model
from components.evaluate.documents import EVALUATION_FILE, read_evaluation, write_evaluation
from components.evaluate.evaluate import evaluate_predictions
from components.evaluate.settings import EvaluateSettings
from tests.evaluate.synthetic import make_study

SETS = {"internal": 24, "north": 30}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("documents")
    predictions, features = make_study(root, SETS)
    evaluate_predictions(predictions, features, EvaluateSettings(iterations=100), root / "out")
    return root / "out"


def test_reading_and_writing_keeps_every_byte(folder: Path, tmp_path: Path) -> None:
    write_evaluation(tmp_path / "again.json", read_evaluation(folder / EVALUATION_FILE))
    assert (tmp_path / "again.json").read_bytes() == (folder / EVALUATION_FILE).read_bytes()


def test_attributes_are_what_the_file_says(folder: Path) -> None:
    found = read_evaluation(folder / EVALUATION_FILE)
    plain = json.loads((folder / EVALUATION_FILE).read_text())
    assert set(found.sets) == set(SETS)
    for name, block in found.sets.items():
        assert set(block.models) == {model.value for model in Model}
        hybrid = block.models[Model.HYBRID.value]
        assert hybrid.auroc.value == plain["sets"][name]["hybrid"]["auroc"]["value"]
        assert hybrid.confusion is not None
        counts = hybrid.confusion.model_dump().values()
        assert sum(counts) + (hybrid.unanswered or 0) == hybrid.patients


@pytest.mark.parametrize("text", ["", "[]", '{"sets": {}}'])
def test_what_is_no_evaluation_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / EVALUATION_FILE).write_text(text)
    with pytest.raises(BadInput) as refused:
        read_evaluation(tmp_path / EVALUATION_FILE)
    assert refused.value.subject == str(tmp_path / EVALUATION_FILE)


def test_an_unknown_key_is_refused(folder: Path, tmp_path: Path) -> None:
    plain = json.loads((folder / EVALUATION_FILE).read_text())
    plain["sets"]["north"]["hybrid"]["auroc"]["valeu"] = 0.9
    (tmp_path / EVALUATION_FILE).write_text(json.dumps(plain))
    with pytest.raises(BadInput, match="valeu"):
        read_evaluation(tmp_path / EVALUATION_FILE)
