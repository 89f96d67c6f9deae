"""The examples of docs/examples against a real server: strangers get the same answer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from tritonclient.grpc import service_pb2

from serving.triton.server import LocalServer
from tests.serving.images import AGE, Sent, assert_same_answer

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"


def _run(
    command: list[str], address: str, files: Mapping[str, Path], *more: str
) -> subprocess.CompletedProcess[str]:
    images = [str(files[name]) for name in ("t1c", "t2", "flair")]
    return subprocess.run(
        [*command, address, *images, str(AGE), *more], capture_output=True, text=True
    )


@pytest.fixture
def bad(tmp_path: Path) -> dict[str, Path]:
    """Sequence -> a file that is no image."""
    files = {name: tmp_path / f"{name}.bad" for name in ("t1c", "t2", "flair")}
    for file in files.values():
        file.write_bytes(b"no image")
    return files


def test_curl_gets_the_answer(image_server: LocalServer, sent: Sent, tmp_path: Path) -> None:
    script, mask = ["sh", str(EXAMPLES / "predict-json.sh")], tmp_path / "mask.nii.gz"
    done = _run(script, image_server.http_address, sent.files)
    assert done.returncode == 0, done.stdout + done.stderr
    (output,) = json.loads(done.stdout)["outputs"]
    script = ["sh", str(EXAMPLES / "predict-mask.sh")]
    done = _run(script, image_server.http_address, sent.files, str(mask))
    assert done.returncode == 0, done.stderr
    assert_same_answer(json.loads(output["data"][0]), mask.read_bytes(), sent.expected)


def test_curl_is_told_what_to_mend(image_server: LocalServer, bad: dict[str, Path]) -> None:
    done = _run(["sh", str(EXAMPLES / "predict-json.sh")], image_server.http_address, bad)
    assert done.returncode == 22
    assert "neither NIfTI nor ZIP" in json.loads(done.stdout)["error"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the example in Node, with the packages that it names."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node is not installed")
    folder = tmp_path_factory.mktemp("node")
    for name in ("predict.mjs", "inference.proto"):
        shutil.copy(EXAMPLES / name, folder)
    packages = ["@grpc/grpc-js@1", "@grpc/proto-loader@0"]
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", *packages], cwd=folder, check=True)
    return ["node", str(folder / "predict.mjs")]


@pytest.mark.slow
def test_node_gets_the_answer(
    node: list[str], image_server: LocalServer, sent: Sent, tmp_path: Path
) -> None:
    done = _run(node, image_server.grpc_address, sent.files, str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "prediction.json").read_text())
    assert_same_answer(found, (tmp_path / "tumor_mask.nii.gz").read_bytes(), sent.expected)
    written = (sent.expected / "tumor_mask.dcm").is_file()
    assert (tmp_path / "tumor_mask.dcm").is_file() == written


@pytest.mark.slow
def test_node_is_told_what_to_mend(
    node: list[str], image_server: LocalServer, bad: dict[str, Path], tmp_path: Path
) -> None:
    refused = _run(node, image_server.grpc_address, bad, str(tmp_path / "out"))
    assert refused.returncode == 2
    assert re.match(r".*(t1c|t2|flair): neither NIfTI nor ZIP", refused.stderr)


def test_the_excerpt_of_the_protocol_is_the_protocol() -> None:
    text = (EXAMPLES / "inference.proto").read_text()
    for message in ("ModelInferRequest", "ModelInferResponse"):
        whole = service_pb2.DESCRIPTOR.message_types_by_name[message]
        body = text[text.index(f"message {message} {{") :]
        body = body[: body.index("\n}\n")]
        own = re.findall(r"^  (?:repeated )?[\w.]+ (\w+) = (\d+);", body, re.MULTILINE)
        assert own
        for name, number in own:
            assert whole.fields_by_name[name].number == int(number), name
        for nested, fields in re.findall(r"  message (\w+) \{\n(.*?)\n  \}", body, re.DOTALL):
            inner = whole.nested_types_by_name[nested]
            for name, number in re.findall(r"(\w+) = (\d+);", fields):
                assert inner.fields_by_name[name].number == int(number), name
