"""Files that must never be published are refused before anything is uploaded."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.core.errors import BadInput
from components.registry.publish import check
from components.registry.run_artifacts import RunArtifacts
from components.registry.settings import PublishSettings
from components.release.integrity.scan import safe_join
from tests.registry.fabricated_run import fabricate, seal

SETTINGS = PublishSettings(max_file_mb=1.0)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("screen") / "run"
    fabricate(root)
    return root


@pytest.fixture
def run(source: Path, tmp_path: Path) -> RunArtifacts:
    import shutil

    root = tmp_path / "run"
    shutil.copytree(source, root)
    folders = ("validated", "segmenter", "samples", "classifier", "evaluation", "repository")
    return RunArtifacts(
        predictions=root / "predictions.csv", **{name: root / name for name in folders}
    )


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": [1.0]}))


def _torch_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))


def _object_array(path: Path) -> None:
    np.save(path, np.array([{"run": "me"}], dtype=object), allow_pickle=True)


def _object_archive(path: Path) -> None:
    np.savez(path, mask=np.array([{"run": "me"}], dtype=object))


def _traversing_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escape.npy", b"")


def _huge_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")


def _trailing_bytes(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4 + pickle.dumps([1]))


def _escaping_onnx(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../etc/passwd"
    graph = helper.make_graph([], "g", [], [], [tensor])
    onnx.save(helper.make_model(graph), str(path))


def _giant(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(2_000_000)


def _link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


MALICE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "pickle by its name": ("segmenter/member_9.pkl", _pickle, "refused"),
    "torch checkpoint": ("segmenter/member_9.pt", _torch_archive, "refused"),
    "pickle under another name": ("segmenter/member_9.safetensors", _pickle, "holds a pickle"),
    "archive under another name": ("classifier/forest2.json", _torch_archive, "archive"),
    "array of objects": ("samples/images/X.npy", _object_array, "not a plain array"),
    "archive of objects": ("samples/x.npz", _object_archive, "holds a pickle"),
    "archive that leaves its folder": ("samples/x.npz", _traversing_archive, "leaves its folder"),
    "safetensors with a giant header": ("segmenter/m.safetensors", _huge_header, "header"),
    "safetensors with a tail": ("segmenter/m.safetensors", _trailing_bytes, "do not fill"),
    "ONNX that reads elsewhere": ("segmenter/m.onnx", _escaping_onnx, "leaves its folder"),
    "not an ONNX": ("segmenter/m.onnx", lambda p: p.write_bytes(b"<html>"), "ONNX"),
    "oversize": ("segmenter/m.json", _giant, "more than 1 MB"),
    "link": ("evaluation/figures.png", _link, "a link"),
    "shared library": ("classifier/libx.so", lambda p: p.write_bytes(b"\x7fELF"), "refused"),
}


@pytest.mark.parametrize("case", MALICE)
def test_malicious_files_are_refused(run: RunArtifacts, case: str) -> None:
    where, make, words = MALICE[case]
    make(run.predictions.parent / where)
    with pytest.raises(BadInput, match=words) as refusal:
        check(run, SETTINGS)
    assert Path(where).name in refusal.value.subject or "leaves" in words


def test_the_same_run_without_malice_passes(run: RunArtifacts) -> None:
    assert len(check(run, SETTINGS)) == 64


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\\..\\x", "", "a\0b"])
def test_names_that_leave_the_repository_are_refused(run: RunArtifacts, name: str) -> None:
    path = run.repository / "release.json"
    content = json.loads(path.read_text())
    content["files"][name] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match="leaves its folder"):
        check(run, SETTINGS)
    with pytest.raises(BadInput):
        safe_join(run.repository, name)


def test_unlisted_and_missing_files_are_refused(run: RunArtifacts) -> None:
    extra = run.repository / "segmenter" / "1" / "model.py"
    extra.write_text("import os")
    with pytest.raises(BadInput, match="not named"):
        check(run, SETTINGS)
    seal(run.repository, trained_on="patients", plan="0" * 64)
    check(run, SETTINGS)
    extra.unlink()
    with pytest.raises(BadInput, match="missing"):
        check(run, SETTINGS)


def test_a_missing_step_is_named(run: RunArtifacts) -> None:
    (run.evaluation / "evaluation.json").unlink()
    with pytest.raises(BadInput, match=r"evaluation\.json"):
        check(run, SETTINGS)
