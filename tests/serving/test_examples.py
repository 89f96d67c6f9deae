"""The examples of docs/examples against a real server: strangers get the same answer."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tritonclient.grpc import service_pb2

from serving.client.glioflow_client import ImagesAnswer, ImagesClient
from serving.triton.server import LocalServer
from tests.serving.images import AGE

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture(scope="module")
def expected(image_server: LocalServer, patient: Path) -> ImagesAnswer:
    with ImagesClient(image_server.grpc_address) as client:
        files = {name: patient / f"{name}.nii.gz" for name in ("t1c", "t2", "flair")}
        return client.predict(age=AGE, **files)


def _run(
    command: list[str], address: str, patient: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    images = [str(patient / f"{name}.nii.gz") for name in ("t1c", "t2", "flair")]
    return subprocess.run(
        [*command, address, *images, str(AGE), *more], capture_output=True, text=True
    )


def test_curl_with_json(image_server: LocalServer, patient: Path, expected: ImagesAnswer) -> None:
    script = ["sh", str(EXAMPLES / "predict-json.sh")]
    done = _run(script, image_server.http_address, patient)
    assert done.returncode == 0, done.stdout + done.stderr
    (output,) = json.loads(done.stdout)["outputs"]
    assert json.loads(output["data"][0]) == expected.result


def test_curl_with_bytes(
    image_server: LocalServer, patient: Path, expected: ImagesAnswer, tmp_path: Path
) -> None:
    script, mask = ["sh", str(EXAMPLES / "predict-mask.sh")], tmp_path / "mask.nii.gz"
    done = _run(script, image_server.http_address, patient, str(mask))
    assert done.returncode == 0, done.stderr
    assert gzip.decompress(mask.read_bytes()) == gzip.decompress(expected.mask_nifti)


def test_curl_is_told_what_to_mend(
    image_server: LocalServer, patient: Path, tmp_path: Path
) -> None:
    for name in ("t1c", "t2", "flair"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"no image")
    done = _run(["sh", str(EXAMPLES / "predict-json.sh")], image_server.http_address, tmp_path)
    assert done.returncode == 22
    assert "neither NIfTI nor ZIP" in json.loads(done.stdout)["error"]


@pytest.mark.slow
def test_node(
    image_server: LocalServer, patient: Path, expected: ImagesAnswer, tmp_path: Path
) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node is not installed")
    for name in ("predict.mjs", "inference.proto"):
        shutil.copy(EXAMPLES / name, tmp_path)
    packages = ["@grpc/grpc-js@1", "@grpc/proto-loader@0"]
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", *packages], cwd=tmp_path, check=True
    )
    script, out = ["node", str(tmp_path / "predict.mjs")], tmp_path / "out"
    done = _run(script, image_server.grpc_address, patient, str(out))
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "prediction.json").read_text()) == expected.result
    mask = gzip.decompress((out / "tumor_mask.nii.gz").read_bytes())
    assert mask == gzip.decompress(expected.mask_nifti)
    for name in ("t1c", "t2", "flair"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"no image")
    refused = _run(script, image_server.grpc_address, tmp_path, str(out))
    assert refused.returncode == 2
    assert "t1c: neither NIfTI nor ZIP" in refused.stderr or "flair" in refused.stderr


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
