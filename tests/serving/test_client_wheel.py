"""glioflow-client, built as a wheel and installed where nothing of this application is."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from serving.client.glioflow_client import ImagesClient, Refused, Unreachable
from serving.client.glioflow_client.command import main
from serving.triton.server import LocalServer
from tests.serving.images import AGE, Sent, assert_same_answer, dicom_folders

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "serving" / "client"


def _arguments(patient: Path, address: str, out: Path, **changes: str) -> list[str]:
    options = {name: str(patient / f"{name}.nii.gz") for name in ("t1c", "t2", "flair")}
    options |= {"age": str(AGE), "server": address, "out": str(out)} | changes
    return ["predict", *(part for name, value in options.items() for part in (f"--{name}", value))]


def test_it_needs_numpy_and_tritonclient_alone() -> None:
    for file in (CLIENT / "glioflow_client").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                assert top in {*sys.stdlib_module_names, "numpy", "tritonclient"}, file


def test_its_version_is_the_application_s() -> None:
    own, whole = (
        tomllib.loads((folder / "pyproject.toml").read_text()) for folder in (CLIENT, ROOT)
    )
    assert own["project"]["version"] == whole["project"]["version"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin folder of an environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("client")
    # setuptools leaves files beside what it builds.
    source = shutil.copytree(CLIENT, folder / "source")
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True, capture_output=True)
    (wheel,) = folder.glob("glioflow_client-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert all(
            name.startswith(("glioflow_client/", "glioflow_client-")) for name in archive.namelist()
        )
    venv.create(folder / "venv", with_pip=True)
    install = [folder / "venv/bin/python", "-m", "pip", "install", "--only-binary=:all:", wheel]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode and "connection" in done.stderr.lower():
        pytest.skip("no package index within reach")
    assert done.returncode == 0, done.stderr
    return folder / "venv/bin"


@pytest.mark.slow
def test_the_wheel_alone_gets_the_answer(
    installed: Path, image_server: LocalServer, sent: Sent, tmp_path: Path
) -> None:
    files = {name: str(path) for name, path in sent.files.items()}
    arguments = _arguments(tmp_path, image_server.grpc_address, tmp_path / "out", **files)
    command = [installed / "glioflow-client", *arguments, "--page"]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert json.loads((tmp_path / "out" / "prediction.json").read_text()) == result
    mask = (tmp_path / "out" / "tumor_mask.nii.gz").read_bytes()
    assert_same_answer(result, mask, sent.expected)
    # The page holds the picture.
    wanted = {path.name for path in sent.expected.iterdir()} - {"prediction.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == wanted
    packages = subprocess.run(
        [installed / "pip", "list", "--format=json"], capture_output=True, text=True, check=True
    )
    assert not {"torch", "simpleitk", "pydicom"} & {
        package["name"].lower() for package in json.loads(packages.stdout)
    }


def test_folders_of_dicom_are_sent_as_zips(
    image_server: LocalServer, patient: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {n: str(p) for n, p in dicom_folders(patient, tmp_path / "dicom").items()}
    arguments = _arguments(patient, image_server.grpc_address, tmp_path / "out", **folders)
    assert main([*arguments, "--patient-id", "P-1"]) == 0
    result = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert result["patient_id"] == "P-1"
    assert (tmp_path / "out" / "tumor_mask.dcm").is_file() == bool(result["tumor_volume_ml"])
    assert json.loads(capsys.readouterr().out) == result


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"t1c": "gone.nii.gz"}, "gone.nii.gz"),
        ({"age": "7"}, "age"),
        ({"flair": __file__}, "flair"),
        ({"server": "localhost"}, "server"),
        ({"ca": "gone.pem"}, "--tls"),
        ({"key": "gone.pem"}, "--certificate"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    image_server: LocalServer,
    patient: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    subject: str,
) -> None:
    out = tmp_path / "out"
    assert main(_arguments(patient, image_server.grpc_address, out, **changes)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(subject) or subject in line.partition(":")[0]
    assert not out.exists()


def test_a_sequence_that_is_missing_is_named_before_anything_is_sent(
    image_server: LocalServer, patient: Path
) -> None:
    with ImagesClient(image_server.grpc_address) as client, pytest.raises(Refused) as error:
        client.predict(age=AGE, t1c=patient / "t1c.nii.gz", t2=patient / "t2.nii.gz")
    assert error.value.subject == "--flair"


def test_readiness_and_absence(image_server: LocalServer) -> None:
    with ImagesClient(image_server.grpc_address) as client:
        assert client.canary() is None
    with ImagesClient("localhost:9", deadline_s=0.5) as nobody:
        assert nobody.canary() is not None
        with pytest.raises(Unreachable):
            nobody.predict(age=AGE, t1c=b"x")
    assert main(["ready", "--server", image_server.grpc_address]) == 0
    assert main(["ready", "--server", "localhost:9", "--deadline", "1"]) == 1
